//! A typed client for the part of the REST API this crate uses: HTTP/1.1 over a unix socket
//! (`vmm/src/api/openapi/cloud-hypervisor.yaml` of Cloud Hypervisor).

pub mod calls;
mod client;
mod fd_stream;

pub use client::Client;

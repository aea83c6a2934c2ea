#![forbid(unsafe_code)]
//! Assembles a pod from what lies below: configuration, cgroups, network, VM, sandbox, containers.
//!
//! ```text
//!   Pod::open                                                        Pod::add
//!   config --> directory --> cgroups --+--> VM --------+--> sandbox     rootfs --> create
//!                                      +--> network ---+
//!                                      '~~> rootfs of a first container
//! ```
//!
//! [`Pod::open`] makes an empty pod, and [`Pod::add`] gives it a container. A container that comes
//! with its pod passes through the same steps as one that comes later; only its rootfs is prepared
//! while the VM starts, and may be in a disk slot from the beginning.
//!
//! On an error everything made so far is undone, last first.

pub mod bundle;
mod containers;
mod error;
mod guest_log;
mod host;
mod launch;
mod network;
mod open;
mod opening;
mod pids;
mod pod;
mod request;
mod shared_files;
mod start_request;

pub use crate::{
    error::Error,
    host::Host,
    launch::{FromConfig, Launch, LaunchError, Wanted},
    pids::Pids,
    pod::Pod,
    request::{ContainerRequest, PodRequest},
    shared_files::Content,
    start_request::start_request,
};

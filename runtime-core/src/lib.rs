#![forbid(unsafe_code)]
//! What a pod is: configuration, sandbox, containers, processes, root file systems, state on disk.

pub mod config;
pub mod container;
pub mod io;
pub mod network;
pub mod oci;
pub mod process;
pub mod resources;
pub mod rootfs;
pub mod sandbox;
pub mod state;
pub mod volumes;

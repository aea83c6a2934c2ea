#![forbid(unsafe_code)]
//! Turns the OCI specification of a container into the one that the guest's agent gets.
//!
//! Everything here is a pure function of its arguments, except [`load_bundle`], which reads
//! `config.json`. A bind mount of the host is never ignored: it is in [`GuestSpec::host_binds`]
//! until the caller says where in the guest its content is.

mod bind;
mod bundle;
mod devices;
mod error;
mod exec;
mod guest;
mod id;
mod kind;
mod linux;
mod mounts;
mod pid_namespace;
mod process;
mod resources;
mod seccomp;
mod shm;
mod storage;
mod sysctl;

pub use bundle::{Bundle, MAX_SPEC_BYTES, load_bundle};
pub use devices::HostDevice;
pub use error::OciError;
pub use exec::{exec_process, guest_limits, update_resources};
pub use guest::{GuestSpec, SpecOptions, guest_spec};
pub use id::{InvalidId, MAX_ID_BYTES, validate_id};
pub use kind::{ContainerKind, pod_uid};
pub use mounts::HostBind;
pub use pid_namespace::{join_no_processes, join_processes};
pub use shm::{DEFAULT_SHM_OPTIONS, sandbox_shm_storage};
pub use storage::{
    GUEST_BASE, GUEST_SANDBOX, GUEST_SHARED, RootfsDisk, RootfsStorages, rootfs_path,
    rootfs_storages,
};
pub use sysctl::sets_interfaces;

#[cfg(test)]
mod tests;

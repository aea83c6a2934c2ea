#![forbid(unsafe_code)]
//! Volumes without a shared file system: the content of a container's bind mounts reaches the guest
//! through the agent's channel or as a disk.
//!
//! ```text
//!   bind mount --open--> facts --classify--> way --+--> copy (updated by a watch)
//!                                                  +--> emptyDir, made in the guest
//!                                                  +--> disk
//!                                                  +--> refusal, with the reason
//! ```
//!
//! A mount is never ignored: it is in the guest, or the container is not made. The containers of a
//! sandbox share the copy of a source. Copies are in the guest's memory, so their size is limited.
//! Changes by the guest stay in the guest, except the termination message.

mod block_devices;
mod classify;
mod copies;
mod direct;
mod disk;
mod empty_dir;
mod error;
mod kubelet;
mod owner;
mod provide;
mod source;
mod subpath;
mod termination;
#[cfg(test)]
mod tests;
mod transfer;
mod tree;

use std::{
    collections::{HashMap, HashSet},
    sync::Arc,
};

use agent_client::{
    Agent,
    agent::{Device, Storage},
};
use config::VolumeSettings;
use hypervisors::Vm;
use slog::{Logger, warn};
use system::{error::chain, sync::Mutex};
use tokio::sync::OnceCell;

pub use error::VolumeError;
pub use termination::Termination;

use copies::{Copies, Copy, Watcher};
use disk::Disks;

/// The volumes of a sandbox.
pub struct Volumes {
    sandbox: String,
    pod_uid: Option<String>,
    settings: VolumeSettings,
    agent: Agent,
    vm: Arc<dyn Vm>,
    log: Logger,
    copies: Copies,
    disks: Arc<Disks>,
    /// Started with the first volume that can change.
    watcher: OnceCell<Watcher>,
    /// Copies of paths of the host, by their path in the guest.
    host_copies: tokio::sync::Mutex<HashMap<String, HostCopy>>,
    /// Paths of the directories that were made in the guest.
    made: Mutex<HashSet<String>>,
}

/// A path of the host that was copied.
#[derive(Debug)]
struct HostCopy {
    bytes: u64,
    /// Paths in it that stay writable. They belong to the guest, and outlive the containers.
    writable: Vec<String>,
}

/// What the agent and the caller need for a container's volumes, beside its specification.
#[derive(Debug, Default)]
pub struct Provided {
    /// File systems that the agent mounts.
    pub storages: Vec<Storage>,
    /// Devices that the agent finds in the guest.
    pub devices: Vec<Device>,
    /// Must be kept as long as the container exists.
    pub held: HeldVolumes,
}

/// The resources of a container's volumes. Watches end when it is dropped.
#[derive(Debug, Default)]
pub struct HeldVolumes {
    /// Device numbers of the disks, and where they are attached.
    disks: Vec<(u64, Arc<Disks>)>,
    termination: Option<Termination>,
    copies: Vec<Arc<Copy>>,
}

impl HeldVolumes {
    /// The file for the container's termination message, if it has one.
    #[must_use]
    pub fn termination(&self) -> Option<Termination> {
        self.termination.clone()
    }

    /// Whether it has disks, which the guest may have written to.
    #[must_use]
    pub fn has_disks(&self) -> bool {
        !self.disks.is_empty()
    }

    /// Detaches the disks from the VM. The container must be removed from the guest.
    pub async fn release(self, vm: &dyn Vm, log: &Logger) {
        for (number, disks) in &self.disks {
            if let Err(error) = disks.detach(vm, *number).await {
                warn!(log, "volume disk not detached";
                    "device" => number, "error" => chain(&error));
            }
        }
    }
}

impl Volumes {
    /// The volumes of the sandbox with this id, for a pod with this uid, if it has one.
    #[must_use]
    pub fn new(
        (sandbox, pod_uid): (String, Option<String>),
        settings: VolumeSettings,
        agent: Agent,
        vm: Arc<dyn Vm>,
        log: Logger,
    ) -> Self {
        Self {
            sandbox,
            pod_uid,
            settings,
            agent,
            vm,
            log,
            copies: Copies::default(),
            disks: Arc::default(),
            watcher: OnceCell::new(),
            host_copies: tokio::sync::Mutex::default(),
            made: Mutex::default(),
        }
    }
}

#![deny(unsafe_code)]
//! Volumes without a shared file system: what a container's bind mounts hold reaches the guest by
//! the agent's channel or as a disk.
//!
//! ```text
//!   bind mount --look--> facts --classify--> way --+--> copy (kept up to date by a watch)
//!                                                  +--> emptyDir, made in the guest
//!                                                  +--> disk
//!                                                  +--> refusal, with the reason
//! ```
//!
//! A mount is never passed over: it is in the guest, or the container is not made. Copies are
//! shared by the containers of a sandbox as binds of one source are. They lie in the guest's memory,
//! so they are bounded. What the guest does to them stays there, but for the termination message.

mod classify;
mod copies;
mod direct;
mod disk;
mod disks;
mod empty_dir;
mod error;
mod kubelet;
mod look;
mod owner;
mod provide;
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
use system::sync::Mutex;
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
    /// Started with the first volume that is to be kept up to date.
    watcher: OnceCell<Watcher>,
    /// The host's files in the guest, by their path there.
    taken: tokio::sync::Mutex<HashMap<String, Taken>>,
    /// Directories that were made in the guest.
    made: Mutex<HashSet<String>>,
}

/// A path of the host, copied.
#[derive(Debug)]
struct Taken {
    bytes: u64,
    /// Paths in it that stay writable. They are the guest's own, and outlive the containers.
    memory: Vec<String>,
}

/// What a container gets, beside its specification.
#[derive(Debug, Default)]
pub struct Provided {
    /// For the agent to mount.
    pub storages: Vec<Storage>,
    /// For the agent to find.
    pub devices: Vec<Device>,
    /// To be kept as long as the container is there.
    pub held: HeldVolumes,
}

/// What a container holds for its volumes. Watches end when it is dropped.
#[derive(Debug, Default)]
pub struct HeldVolumes {
    /// Device numbers, and what knows their disks.
    disks: Vec<(u64, Arc<Disks>)>,
    termination: Option<Termination>,
    copies: Vec<Arc<Copy>>,
}

impl HeldVolumes {
    /// The file for the container's termination message.
    #[must_use]
    pub fn termination(&self) -> Option<Termination> {
        self.termination.clone()
    }

    /// Whether it holds disks, which the guest may have written to.
    #[must_use]
    pub fn has_disks(&self) -> bool {
        !self.disks.is_empty()
    }

    /// Gives back what the VM still has; the container is out of the guest.
    pub async fn release(self, vm: &dyn Vm, log: &Logger) {
        for (number, disks) in &self.disks {
            if let Err(error) = disks.unplug(vm, *number).await {
                warn!(log, "disk of a volume stays plugged";
                    "device" => number, "error" => %error);
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
            taken: tokio::sync::Mutex::default(),
            made: Mutex::default(),
        }
    }
}

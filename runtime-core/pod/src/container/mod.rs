//! One container: its creation in the guest, and its resources on the host.

mod create;
mod disks;
mod error;
mod remove;
mod slots;

use std::{collections::HashMap, path::PathBuf, time::Duration};

pub(crate) use create::create;
pub use create::root_disks;
pub use disks::{Counts, RootDisks, first_image};
pub use error::Error;
pub(crate) use remove::{remove, remove_from_guest};
pub use slots::Reason;

use oci::{Bundle, ContainerKind, SpecOptions};
use rootfs::{Mount, Rootfs};
use volumes::HeldVolumes;

use crate::{io::Stdio, process::Process};

/// A container that is to be created.
#[derive(Debug)]
pub struct NewContainer {
    /// The container's id, valid as by [`validate_id`](oci::validate_id).
    pub id: String,
    /// What the container is for its VM.
    pub kind: ContainerKind,
    /// The container's bundle, with its specification.
    pub bundle: Bundle,
    /// The root file system, which was prepared.
    pub rootfs: Rootfs,
    /// The mounts the root file system was prepared from, for the event.
    pub mounts: Vec<Mount>,
    /// The standard streams of its init.
    pub stdio: Stdio,
    /// The node's settings for its specification.
    pub options: SpecOptions,
}

/// How long the steps of a container's creation took.
#[derive(Debug, Clone, Copy, Default)]
pub struct CreatePhases {
    /// Attaching the root disks to the VM.
    pub disk: Duration,
    /// Volumes, and the guest's creation of the container.
    pub container: Duration,
}

/// The resources of a container outside of the guest.
#[derive(Debug)]
pub(crate) struct Held {
    /// Where its root disks are attached.
    disks: disks::Attached,
    /// Keeps the disks' content.
    pub(crate) rootfs: Rootfs,
    /// Its volumes, whose watches end with this.
    pub(crate) volumes: HeldVolumes,
}

/// A container and its processes, as the sandbox's task knows them.
#[derive(Debug)]
pub(crate) struct Container {
    pub(crate) bundle: PathBuf,
    pub(crate) init: Process,
    pub(crate) execs: HashMap<String, Process>,
    /// `None` while it is being created or removed.
    pub(crate) held: Option<Held>,
}

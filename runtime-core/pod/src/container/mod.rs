//! One container: how it is made in the guest and what it holds on the host.

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

/// A container to make.
#[derive(Debug)]
pub struct NewContainer {
    /// Its id, valid as by [`validate_id`](oci::validate_id).
    pub id: String,
    /// What it is to its VM.
    pub kind: ContainerKind,
    /// Its bundle, read.
    pub bundle: Bundle,
    /// Its root file system, prepared.
    pub rootfs: Rootfs,
    /// The mounts the root file system was prepared from, for the event.
    pub mounts: Vec<Mount>,
    /// Its init's standard streams.
    pub stdio: Stdio,
    /// What the node decides about its specification.
    pub options: SpecOptions,
}

/// How long the steps of a container's creation took.
#[derive(Debug, Clone, Copy, Default)]
pub struct CreatePhases {
    /// Giving the VM the root disks.
    pub disk: Duration,
    /// The guest's part.
    pub container: Duration,
}

/// What a container holds outside of the guest.
#[derive(Debug)]
pub(crate) struct Held {
    /// Its root disks in the VM.
    disks: disks::Attached,
    /// The disks' content.
    pub(crate) rootfs: Rootfs,
    /// What its mounts hold.
    pub(crate) volumes: HeldVolumes,
}

/// A container and its processes, as the sandbox's task knows them.
#[derive(Debug)]
pub(crate) struct Container {
    pub(crate) bundle: PathBuf,
    pub(crate) init: Process,
    pub(crate) execs: HashMap<String, Process>,
    /// `None` while it is being made or removed.
    pub(crate) held: Option<Held>,
}

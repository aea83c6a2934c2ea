//! Where the files of one VM are in its run directory.

use std::path::{Path, PathBuf};

use crate::disk_slots::name;

/// The sockets of one VM.
#[derive(Debug, Clone)]
pub struct Sockets {
    /// The API of the VMM.
    pub api: PathBuf,
    /// The guest's vsock ports: a connection names one with `CONNECT <port>`.
    pub vsock: PathBuf,
}

impl Sockets {
    /// The sockets of the VM that has this run directory.
    pub fn within(run_dir: &Path) -> Self {
        Self {
            api: run_dir.join("clh-api.sock"),
            vsock: run_dir.join("clh.sock"),
        }
    }
}

/// The path of a slot's disk in the configuration of its VM: a link.
pub fn slot_link(run_dir: &Path, slot: u32) -> PathBuf {
    run_dir.join(name(slot))
}

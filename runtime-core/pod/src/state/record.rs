//! The record of a sandbox: plain values, and their storage.
//!
//! Names of fields on disk do not change within a version of the format: `vmm` is `monitor` there.

use std::{
    collections::BTreeMap,
    io::{self, ErrorKind},
    path::{Path, PathBuf},
};

use hypervisors::VmmProcess;
use network::{Namespace, NamespaceId};
use serde::{Deserialize, Serialize};
use system::file;

use super::StateError;

/// Version of the record's format. A change that an older reader would misunderstand increments it.
const VERSION: u32 = 1;
/// Longest record that is read, in bytes.
const MAX_BYTES: u64 = 1 << 20;

/// What a sandbox consists of on the host.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SandboxState {
    version: u32,
    /// Id of the sandbox.
    pub sandbox_id: String,
    /// The bundle it was made from.
    pub bundle: PathBuf,
    /// The shim that owns it.
    pub shim: Option<ProcessRecord>,
    /// The VMM's binary. Set before the VMM is started.
    #[serde(default, rename = "monitor_binary")]
    pub vmm_binary: Option<PathBuf>,
    /// The VMM's process. Set as soon as it runs.
    #[serde(default, rename = "monitor")]
    pub vmm: Option<ProcessRecord>,
    /// The sandbox's containers, by id.
    #[serde(default)]
    pub containers: BTreeMap<String, ContainerRecord>,
    /// Cgroup directories made on the host, parents first.
    #[serde(default)]
    pub cgroups: Vec<PathBuf>,
    /// The network namespace whose interfaces are redirected into the VM.
    #[serde(default)]
    pub network: Option<NetworkRecord>,
}

/// A network namespace, identified so that another one at the same path is not mistaken for it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct NetworkRecord {
    /// Path of the namespace.
    pub path: PathBuf,
    /// Device of the file behind it (namespaces(7)).
    pub dev: u64,
    /// Inode of the file behind it.
    pub ino: u64,
}

impl From<&Namespace> for NetworkRecord {
    fn from(namespace: &Namespace) -> Self {
        let id = namespace.id();
        Self {
            path: namespace.path().to_owned(),
            dev: id.dev,
            ino: id.ino,
        }
    }
}

impl NetworkRecord {
    /// The numbers that identify the namespace.
    #[must_use]
    pub fn id(&self) -> NamespaceId {
        NamespaceId {
            dev: self.dev,
            ino: self.ino,
        }
    }
}

/// A process, identified so that another one with its pid is not mistaken for it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct ProcessRecord {
    /// Number of the process in `/proc`.
    pub pid: u32,
    /// Clock ticks between the host's boot and the start of the process (proc_pid_stat(5),
    /// field 22).
    pub start_time: u64,
}

impl From<VmmProcess> for ProcessRecord {
    fn from(process: VmmProcess) -> Self {
        Self {
            pid: process.pid,
            start_time: process.start_time,
        }
    }
}

/// A container of the sandbox.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ContainerRecord {
    /// Path of the container's bundle.
    pub bundle: PathBuf,
    /// Disks that are attached for it.
    #[serde(default)]
    pub disks: Vec<DiskRecord>,
}

/// A disk of the VM.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct DiskRecord {
    /// The disk's id in the VMM.
    pub id: String,
    /// File or block device on the host.
    pub path: PathBuf,
}

impl SandboxState {
    /// The record of a sandbox of which nothing exists yet.
    pub fn new(sandbox_id: &str, bundle: &Path) -> Self {
        Self {
            version: VERSION,
            sandbox_id: sandbox_id.to_owned(),
            bundle: bundle.to_owned(),
            shim: ProcessRecord::of_this_process(),
            vmm_binary: None,
            vmm: None,
            containers: BTreeMap::new(),
            cgroups: Vec::new(),
            network: None,
        }
    }
}

/// Reads the record at `path`; `None` if there is none.
pub(super) fn load(path: &Path) -> Result<Option<SandboxState>, StateError> {
    let unreadable = |reason: String| StateError::Unreadable {
        path: path.to_owned(),
        reason,
    };
    let content = match file::read(path, MAX_BYTES) {
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
        Err(error) if error.kind() == ErrorKind::FileTooLarge => {
            return Err(unreadable(error.to_string()));
        }
        read => read.map_err(StateError::io("Reading", path))?,
    };
    let state: SandboxState =
        serde_json::from_slice(&content).map_err(|error| unreadable(error.to_string()))?;
    if state.version != VERSION {
        let version = state.version;
        return Err(unreadable(format!("format {version}, expected {VERSION}")));
    }
    Ok(Some(state))
}

/// Replaces the record at `path`. A reader sees the old one or the new one, even if the writer dies
/// half-way. The run root is in memory and ends with the machine, so nothing is synced.
pub(super) fn store(path: &Path, state: &SandboxState) -> Result<(), StateError> {
    let text = serde_json::to_vec_pretty(state).map_err(io::Error::other);
    text.and_then(|text| file::replace(path, &text))
        .map_err(StateError::io("Writing", path))
}

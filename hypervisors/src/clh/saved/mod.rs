//! The configuration that lies beside a saved state, and what of it belongs to one VM alone.
//!
//! Cloud Hypervisor restores what this file says, so for another VM than the one that was saved the
//! file has to say something else. All keys that are not named here stay as they were.

use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::{
    paths::{Sockets, slot_link},
    vm_config::{NIC, ROOT_DISK},
};
use crate::{
    GuestRoot, MemoryBacking, VmSpec,
    disk_slots::{NAME_PREFIX, name},
};

/// Name of the configuration's file.
pub const SAVED_CONFIG: &str = "config.json";
/// Name of the state's file.
pub const SAVED_STATE: &str = "state.json";
/// Name of the file with the memory that is in no file of its own.
pub const SAVED_MEMORY: &str = "memory-ranges";

/// What stands for a tap that the file cannot name: it travels beside the restore.
const PASSED: i32 = -1;

/// The longest configuration that is read, in bytes; one has some 2 KiB.
pub const LIMIT: u64 = 1 << 20;

/// A saved configuration cannot be read, or is not that of a VM like the one that is wanted.
#[derive(Debug, thiserror::Error)]
#[error("Saved configuration cannot be used: {0}")]
pub struct InvalidConfig(String);

/// A saved configuration: the keys that this crate changes, and all others as they were.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct SavedConfig {
    memory: Memory,
    #[serde(default)]
    disks: Option<Vec<Disk>>,
    #[serde(default)]
    net: Option<Vec<Net>>,
    #[serde(default)]
    serial: Option<Console>,
    #[serde(default)]
    vsock: Option<Vsock>,
    #[serde(flatten)]
    rest: Map<String, Value>,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
struct Memory {
    size: u64,
    #[serde(default)]
    shared: bool,
    #[serde(default)]
    zones: Option<Vec<Zone>>,
    #[serde(flatten)]
    rest: Map<String, Value>,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
struct Zone {
    size: u64,
    #[serde(default)]
    file: Option<PathBuf>,
    #[serde(default)]
    shared: bool,
    #[serde(flatten)]
    rest: Map<String, Value>,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
struct Disk {
    #[serde(default)]
    id: Option<String>,
    #[serde(default)]
    path: Option<PathBuf>,
    #[serde(flatten)]
    rest: Map<String, Value>,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
struct Net {
    #[serde(default)]
    id: Option<String>,
    /// Numbers that meant something to the VMM that saved them.
    #[serde(default)]
    fds: Option<Vec<i32>>,
    #[serde(flatten)]
    rest: Map<String, Value>,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
struct Console {
    #[serde(default)]
    file: Option<PathBuf>,
    #[serde(flatten)]
    rest: Map<String, Value>,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
struct Vsock {
    socket: PathBuf,
    #[serde(flatten)]
    rest: Map<String, Value>,
}

impl SavedConfig {
    /// Reads a configuration from its JSON text.
    ///
    /// # Errors
    /// The text is no configuration.
    pub fn parse(text: &[u8]) -> Result<Self, InvalidConfig> {
        serde_json::from_slice(text).map_err(|error| InvalidConfig(error.to_string()))
    }

    /// The file's content.
    ///
    /// # Errors
    /// A path in it is no text.
    pub fn encode(&self) -> Result<Vec<u8>, InvalidConfig> {
        serde_json::to_vec(self).map_err(|error| InvalidConfig(error.to_string()))
    }

    /// The same VM with the memory, the sockets, the root image and the disk slots of `spec`:
    /// memory that was shared with its file while it was saved is private to the VM that is
    /// restored if `spec` says so. No descriptor of the VMM that saved it is named any more. The
    /// MAC address stays: the state has it too, and decides.
    ///
    /// # Errors
    /// What was saved cannot be the VM of `spec`.
    pub fn fitted(&self, spec: &VmSpec) -> Result<Self, InvalidConfig> {
        let mut fitted = self.clone();
        fitted.memory.back(spec)?;
        if let GuestRoot::Image(image) = &spec.kernel.root {
            fitted.root_disk()?.path = Some(image.clone());
        }
        fitted.move_slots(spec)?;
        fitted.take_tap(spec.nic.is_some())?;
        let Some(vsock) = &mut fitted.vsock else {
            return Err(InvalidConfig(String::from("it has no vsock device")));
        };
        let socket = Sockets::within(&spec.run_dir).vsock;
        let old_run_dir = vsock.socket.parent().map(Path::to_owned);
        vsock.socket = socket;
        if let (Some(serial), Some(old)) = (&mut fitted.serial, old_run_dir) {
            serial.move_to(&spec.run_dir, &old);
        }
        Ok(fitted)
    }

    fn take_tap(&mut self, wanted: bool) -> Result<(), InvalidConfig> {
        let refused = |why: &str| Err(InvalidConfig(why.to_owned()));
        match (self.net.as_deref_mut().unwrap_or_default(), wanted) {
            ([], false) => Ok(()),
            ([], true) => refused("it has no network interface, and the VM is to have one"),
            (_, false) => refused("it has a network interface, and the VM is to have none"),
            ([nic], true) if nic.id.as_deref() == Some(NIC) && nic.fds.is_some() => {
                nic.fds = Some(vec![PASSED]);
                Ok(())
            }
            (_, true) => refused("its network interface is not the one of a VM's start"),
        }
    }

    fn root_disk(&mut self) -> Result<&mut Disk, InvalidConfig> {
        self.disk(ROOT_DISK)
            .ok_or_else(|| InvalidConfig(String::from("it has no disk with the guest's root")))
    }

    fn move_slots(&mut self, spec: &VmSpec) -> Result<(), InvalidConfig> {
        let disks = self.disks.iter().flatten();
        let names = disks.filter_map(|disk| disk.id.as_deref());
        let has = names.filter(|id| id.starts_with(NAME_PREFIX)).count();
        let wanted = spec.slots.count;
        if has != wanted as usize {
            return Err(InvalidConfig(format!(
                "it has {has} disk slots, and the VM is to have {wanted}"
            )));
        }
        for slot in 0..wanted {
            let disk = self
                .disk(&name(slot))
                .ok_or_else(|| InvalidConfig(format!("it has no disk for the disk slot {slot}")))?;
            disk.path = Some(slot_link(&spec.run_dir, slot));
        }
        Ok(())
    }

    fn disk(&mut self, id: &str) -> Option<&mut Disk> {
        let mut disks = self.disks.iter_mut().flatten();
        disks.find(|disk| disk.id.as_deref() == Some(id))
    }
}

impl Memory {
    fn back(&mut self, spec: &VmSpec) -> Result<(), InvalidConfig> {
        let wanted = u64::from(spec.memory.mib) << 20;
        let zones = self.zones.as_deref_mut().unwrap_or_default();
        let size = self.size + zones.iter().map(|zone| zone.size).sum::<u64>();
        if size != wanted {
            return Err(InvalidConfig(format!(
                "it has {size} bytes of memory, not {wanted}"
            )));
        }
        match (&spec.memory.backing, zones) {
            (MemoryBacking::Anonymous, []) => Ok(()),
            (MemoryBacking::File { path, shared }, [zone]) => {
                zone.file = Some(path.clone());
                zone.shared = *shared;
                self.shared = *shared;
                Ok(())
            }
            (MemoryBacking::Anonymous, _) => Err(InvalidConfig(String::from(
                "its memory is in a file, and the VM's is to be in none",
            ))),
            (MemoryBacking::File { .. }, zones) => Err(InvalidConfig(format!(
                "its memory is in {} files, and the VM's is to be in one",
                zones.len()
            ))),
        }
    }
}

impl Console {
    fn move_to(&mut self, run_dir: &Path, old: &Path) {
        let inside = self.file.as_deref().and_then(|f| f.strip_prefix(old).ok());
        if let Some(moved) = inside.map(|inside| run_dir.join(inside)) {
            self.file = Some(moved);
        }
    }
}

#[cfg(test)]
mod tests;

//! A VM as the API takes it: the keys this crate sets. All others are left to their defaults.

use std::path::{Path, PathBuf};

use serde::Serialize;

use super::{
    config::ClhConfig,
    paths::{Sockets, slot_link},
};
use crate::{DiskSlots, GuestRoot, MemoryBacking, MemorySpec, Result, VmSpec, disk_slots::name};

/// The guest's context identifier. It means nothing on the host, where a socket names the VM.
pub const GUEST_CID: u32 = 3;
/// Name of the one memory zone.
pub const ZONE: &str = "mem0";
/// Name of the disk with the guest's root.
pub const ROOT_DISK: &str = "image";
/// Queues of a slot's disk.
pub const SLOT_QUEUES: u32 = 1;
/// Name of the network interface that is there from the start.
pub const NIC: &str = "nic";
/// Memory is hot-plugged in pieces of this many MiB.
pub const MEMORY_STEP_MIB: u32 = 128;
/// Requests that fit into a disk's queue.
const DISK_QUEUE_SIZE: u16 = 256;
/// Packets that fit into a network interface's queue.
const NET_QUEUE_SIZE: u16 = 256;

/// A VM: `VmConfig` of the API.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct VmConfig {
    cpus: Cpus,
    memory: Memory,
    payload: Payload,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    disks: Vec<DiskConfig>,
    rng: Rng,
    serial: Console,
    console: Console,
    vsock: Vsock,
    #[serde(skip_serializing_if = "Option::is_none")]
    landlock_enable: Option<bool>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    landlock_rules: Vec<LandlockRule>,
}

#[derive(Debug, Clone, PartialEq, Serialize)]
struct Cpus {
    boot_vcpus: u32,
    max_vcpus: u32,
    nested: bool,
}

#[derive(Debug, Clone, PartialEq, Serialize)]
struct Memory {
    size: u64,
    shared: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    hotplug_size: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    zones: Option<[Zone; 1]>,
}

#[derive(Debug, Clone, PartialEq, Serialize)]
struct Zone {
    id: &'static str,
    size: u64,
    file: PathBuf,
    shared: bool,
}

#[derive(Debug, Clone, PartialEq, Serialize)]
struct Payload {
    kernel: PathBuf,
    cmdline: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    initramfs: Option<PathBuf>,
}

#[derive(Debug, Clone, PartialEq, Serialize)]
struct Rng {
    src: &'static str,
}

#[derive(Debug, Clone, PartialEq, Serialize)]
struct Console {
    mode: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    file: Option<PathBuf>,
}

#[derive(Debug, Clone, PartialEq, Serialize)]
struct Vsock {
    cid: u32,
    socket: PathBuf,
}

#[derive(Debug, Clone, PartialEq, Serialize)]
struct LandlockRule {
    path: PathBuf,
    access: &'static str,
}

/// A disk: `DiskConfig` of the API.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct DiskConfig {
    id: String,
    path: PathBuf,
    readonly: bool,
    num_queues: u32,
    queue_size: u16,
    /// Never guessed at: what a guest wrote to a disk would decide.
    image_type: &'static str,
}

/// A network interface: `NetConfig` of the API, for one whose tap travels beside the call.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct NetConfig {
    id: String,
    mac: String,
    /// Two, one in each direction, for each tap.
    num_queues: u32,
    queue_size: u16,
}

impl VmConfig {
    /// The VM that `spec` describes.
    pub fn new(spec: &VmSpec, config: &ClhConfig) -> Result<Self> {
        let (initramfs, mut disks) = match &spec.kernel.root {
            GuestRoot::Initrd(path) => (Some(path.clone()), Vec::new()),
            GuestRoot::Image(path) => {
                let root = DiskConfig::new(ROOT_DISK, path, true, 1);
                (None, vec![root])
            }
        };
        disks.extend(slot_disks(&spec.slots, &spec.run_dir));
        let rules = config.landlock.iter().flatten().map(|path| LandlockRule {
            path: path.clone(),
            access: "rw",
        });
        Ok(Self {
            cpus: Cpus {
                boot_vcpus: spec.vcpus,
                max_vcpus: spec.max_vcpus,
                nested: config.nested,
            },
            memory: Memory::new(&spec.memory),
            payload: Payload {
                kernel: spec.kernel.kernel.clone(),
                cmdline: spec.kernel.command_line.clone(),
                initramfs,
            },
            disks,
            rng: Rng {
                src: "/dev/urandom",
            },
            serial: Console::serial(config, &spec.run_dir),
            console: Console::off(),
            vsock: Vsock {
                cid: GUEST_CID,
                socket: Sockets::within(&spec.run_dir).vsock,
            },
            landlock_enable: config.landlock.as_ref().map(|_| true),
            landlock_rules: rules.collect(),
        })
    }
}

/// The disks of a VM's slots.
fn slot_disks(slots: &DiskSlots, run_dir: &Path) -> impl Iterator<Item = DiskConfig> {
    let link = |slot| slot_link(run_dir, slot);
    (0..slots.count).map(move |slot| DiskConfig::new(&name(slot), &link(slot), true, SLOT_QUEUES))
}

impl Memory {
    fn new(memory: &MemorySpec) -> Self {
        let size = u64::from(memory.mib) << 20;
        match &memory.backing {
            MemoryBacking::Anonymous => Self {
                size,
                shared: false,
                hotplug_size: hotplug_size(memory),
                zones: None,
            },
            // Memory in zones has its size there, and none can be hot-plugged beside it.
            MemoryBacking::File { path, shared } => Self {
                size: 0,
                shared: *shared,
                hotplug_size: None,
                zones: Some([Zone {
                    id: ZONE,
                    size,
                    file: path.clone(),
                    shared: *shared,
                }]),
            },
        }
    }
}

fn hotplug_size(memory: &MemorySpec) -> Option<u64> {
    let steps = (memory.max_mib - memory.mib) / MEMORY_STEP_MIB;
    (steps > 0).then(|| u64::from(steps * MEMORY_STEP_MIB) << 20)
}

impl Console {
    fn off() -> Self {
        Self {
            mode: "Off",
            file: None,
        }
    }

    fn serial(config: &ClhConfig, run_dir: &Path) -> Self {
        match &config.debug_console {
            None => Self::off(),
            Some(file) => Self {
                mode: "File",
                file: Some(run_dir.join(file)),
            },
        }
    }
}

impl DiskConfig {
    /// A raw disk with so many queues.
    pub fn new(id: &str, path: &Path, read_only: bool, queues: u32) -> Self {
        Self {
            id: id.to_owned(),
            path: path.to_owned(),
            readonly: read_only,
            num_queues: queues,
            queue_size: DISK_QUEUE_SIZE,
            image_type: "Raw",
        }
    }
}

impl NetConfig {
    /// An interface with one tap.
    pub fn new(id: &str, mac: &str) -> Self {
        Self {
            id: id.to_owned(),
            mac: mac.to_owned(),
            num_queues: 2,
            queue_size: NET_QUEUE_SIZE,
        }
    }
}

#[cfg(test)]
mod tests;

//! What a caller asks of a hypervisor: plain values, no behaviour.

use std::{fmt, os::fd::OwnedFd, path::PathBuf, str::FromStr, sync::Arc};

/// A virtual machine, as asked for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct VmSpec {
    /// Name of the VM, unique on the node; appears in the VMM's command line.
    pub id: String,
    /// Directory for the VM's sockets, private to this VM. The caller makes it (mode 0700) and
    /// removes it when the VM is gone.
    pub run_dir: PathBuf,
    /// vCPUs present at boot, at least 1.
    pub vcpus: u32,
    /// vCPUs that there may be after a hot-plug, at least `vcpus`.
    pub max_vcpus: u32,
    /// Size of the guest's memory, and where it comes from.
    pub memory: MemorySpec,
    /// The kernel that is booted. A restore ignores it, except where the VMM wants it named.
    pub kernel: KernelSpec,
    /// Network namespace the VMM lives in, by path; `None` is the caller's.
    pub netns: Option<PathBuf>,
    /// Disks that are there from the start, so that none has to be attached later. A VMM that has
    /// no such thing ignores them, and `Vm::disk_slot` says so.
    pub slots: DiskSlots,
    /// The network interface that is there from the start. A VMM that has no such thing ignores
    /// it, and `Vm::nic` says so.
    pub nic: Option<NicSpec>,
}

/// Read-only disks without content, each at a place of its own, into which an image can be put
/// while the VM runs: the guest sees the same disk with another content. A VM that is saved and the
/// VM it is loaded into have as many, of the same size.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct DiskSlots {
    /// Number of slots, all of the same size.
    pub count: u32,
    /// Size of each in MiB: what the guest sees, whatever is in it.
    pub mib: u32,
    /// Images in the first ones from the start, at most `count`, each a regular file of at least a
    /// slot's size.
    pub contents: Vec<PathBuf>,
}

/// A network interface that is in a VM from its start. A restored guest keeps the MAC address of
/// the VM that was saved until it is given another.
#[derive(Debug, Clone)]
pub struct NicSpec {
    /// The guest's MAC address, `aa:bb:cc:dd:ee:ff`.
    pub mac: String,
    /// A tap opened with `IFF_TAP | IFF_NO_PI | IFF_VNET_HDR`. It may be connected to nothing.
    pub tap: Arc<OwnedFd>,
}

impl PartialEq for NicSpec {
    fn eq(&self, other: &Self) -> bool {
        self.mac == other.mac && Arc::ptr_eq(&self.tap, &other.tap)
    }
}

impl Eq for NicSpec {}

/// Size and origin of guest memory.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MemorySpec {
    /// Size in MiB, more than 0.
    pub mib: u32,
    /// Size in MiB up to which memory may be hot-plugged, at least `mib`.
    pub max_mib: u32,
    /// Where the pages come from.
    pub backing: MemoryBacking,
}

/// Where guest pages come from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum MemoryBacking {
    /// Anonymous memory of the VMM process.
    Anonymous,
    /// A file of exactly the memory's size.
    File {
        /// Path of the file. It must exist and have the full length before the VM is made.
        path: PathBuf,
        /// `true`: the guest writes to the file. `false`: the guest sees the file's content and
        /// writes to private copies of its pages (`MAP_PRIVATE`).
        shared: bool,
    },
}

/// The guest's kernel, root and command line.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KernelSpec {
    /// An uncompressed `vmlinux` with a PVH note, or a bzImage.
    pub kernel: PathBuf,
    /// The guest's root file system.
    pub root: GuestRoot,
    /// Kernel command line, complete.
    pub command_line: String,
}

/// The guest's root file system.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum GuestRoot {
    /// An initramfs whose `/init` is the agent.
    Initrd(PathBuf),
    /// A raw disk image, attached read-only.
    Image(PathBuf),
}

/// A disk to attach. Always raw: no format is ever guessed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DiskSpec {
    /// Identifier, unique within the VM: `[A-Za-z][A-Za-z0-9_-]*`, at most 32 characters.
    pub id: String,
    /// A regular file or a block device.
    pub path: PathBuf,
    /// Whether the guest may only read.
    pub read_only: bool,
}

/// A network interface to attach.
#[derive(Debug)]
pub struct NetSpec {
    /// Identifier, unique within the VM, same form as a disk's.
    pub id: String,
    /// The guest's MAC address, `aa:bb:cc:dd:ee:ff`.
    pub mac: String,
    /// A tap opened with `IFF_TAP | IFF_NO_PI | IFF_VNET_HDR`.
    pub tap: OwnedFd,
}

/// Where a device sits on the guest's PCI bus, in the agent's notation: slots from the root bus
/// down, two hex digits each, joined with `/` (`02/00` is device 0 behind the root port in slot 2).
/// A function other than 0 follows its slot (`06.1`).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PciPath(String);

/// The text is no PCI path.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is no PCI path (expected two hex digits per level, as in 02/00)")]
pub struct InvalidPciPath(String);

impl PciPath {
    /// The path through `slots`, from the root bus down.
    pub(crate) fn from_slots(slots: &[u32]) -> Self {
        let levels: Vec<String> = slots.iter().map(|slot| format!("{slot:02x}")).collect();
        Self(levels.join("/"))
    }

    /// A function of a slot on the root bus.
    pub(crate) fn of_function(slot: u32, function: u32) -> Self {
        match function {
            0 => Self::from_slots(&[slot]),
            _ => Self(format!("{slot:02x}.{function:x}")),
        }
    }
}

impl FromStr for PciPath {
    type Err = InvalidPciPath;

    fn from_str(text: &str) -> Result<Self, InvalidPciPath> {
        let slot = |s: &str| s.len() == 2 && u8::from_str_radix(s, 16).is_ok_and(|n| n < 32);
        let function = |f: &str| matches!(f.as_bytes(), [b'0'..=b'7']);
        let level = |level: &str| match level.split_once('.') {
            Some((s, f)) => slot(s) && function(f),
            None => slot(level),
        };
        if text.split('/').all(level) {
            Ok(Self(text.to_owned()))
        } else {
            Err(InvalidPciPath(text.to_owned()))
        }
    }
}

impl fmt::Display for PciPath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

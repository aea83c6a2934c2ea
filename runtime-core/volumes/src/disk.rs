//! Block devices of the host that are hot-plugged into the VM as disks.

use std::{
    collections::HashMap,
    fs,
    os::unix::fs::{FileTypeExt, MetadataExt},
    path::{Path, PathBuf},
};

use hypervisors::{DiskSpec, Vm};
use nix::{errno::Errno, fcntl::OFlag, sys::stat::Mode};
use tokio::sync::Mutex;

use super::{VolumeError, source::blocking};

/// The node of a block device, which was checked to be one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct BlockDevice {
    path: PathBuf,
    /// Device number, as `st_rdev` of stat(2).
    pub(super) number: u64,
    read_only: bool,
}

impl BlockDevice {
    /// The node at `path`, which must have this device number.
    pub(super) fn at(path: &Path, number: u64, read_only: bool) -> Result<Self, VolumeError> {
        let path = fs::canonicalize(path).map_err(VolumeError::io("Resolving", path))?;
        let found = fs::symlink_metadata(&path).map_err(VolumeError::io("Inspecting", &path))?;
        if !found.file_type().is_block_device() || found.rdev() != number {
            return Err(VolumeError::Changing { path });
        }
        Ok(Self {
            path,
            number,
            read_only,
        })
    }

    /// The node at `path`, with any number.
    pub(super) fn named(path: &Path, read_only: bool) -> Result<Self, VolumeError> {
        let found = fs::metadata(path).map_err(VolumeError::io("Inspecting", path))?;
        Self::at(path, found.rdev(), read_only)
    }

    /// The node of the host with this device number.
    pub(super) fn numbered(major: u64, minor: u64, read_only: bool) -> Result<Self, VolumeError> {
        let described = PathBuf::from(format!("/sys/dev/block/{major}:{minor}/uevent"));
        let uevent =
            fs::read_to_string(&described).map_err(VolumeError::io("Reading", &described))?;
        let name = uevent
            .lines()
            .find_map(|line| line.strip_prefix("DEVNAME="));
        let path = Path::new("/dev").join(name.unwrap_or_default());
        Self::at(&path, nix::sys::stat::makedev(major, minor), read_only)
    }

    /// Whether the host itself uses the device: two writers, or a reader beside a writer, would
    /// corrupt it. The kernel refuses an exclusive open if it is mounted or part of another device.
    fn in_use(&self) -> Result<bool, VolumeError> {
        let flags = OFlag::O_RDONLY | OFlag::O_EXCL | OFlag::O_NONBLOCK | OFlag::O_CLOEXEC;
        match nix::fcntl::open(&self.path, flags, Mode::empty()) {
            Ok(_closed_at_once) => Ok(false),
            Err(Errno::EBUSY) => Ok(true),
            Err(errno) => Err(VolumeError::io("Opening", &self.path)(errno)),
        }
    }
}

/// The disks of a sandbox's volumes: one for each device, shared by all containers. Two disks on
/// one device would have caches that do not know of each other.
#[derive(Debug, Default)]
pub(super) struct Disks(Mutex<HashMap<u64, AttachedDisk>>);

#[derive(Debug)]
struct AttachedDisk {
    pci_path: String,
    read_only: bool,
    users: usize,
}

impl Disks {
    /// Attaches a device for one more container, and returns the PCI path at which the guest finds
    /// it. `refuse` makes an error of a reason.
    ///
    /// # Errors
    /// The host or another container uses the device, or the VMM refuses it.
    pub(super) async fn attach(
        &self,
        vm: &dyn Vm,
        device: &BlockDevice,
        refuse: impl Fn(String) -> VolumeError,
    ) -> Result<String, VolumeError> {
        let mut attached = self.0.lock().await;
        if let Some(disk) = attached.get_mut(&device.number) {
            if disk.read_only != device.read_only {
                return Err(refuse(
                    "another container of the pod has the device with other access".to_owned(),
                ));
            }
            disk.users += 1;
            return Ok(disk.pci_path.clone());
        }
        let inspected = device.clone();
        if blocking(&device.path, move || inspected.in_use()).await? {
            return Err(refuse(
                "the host uses the device itself (it is mounted there)".to_owned(),
            ));
        }
        let disk = DiskSpec {
            id: disk_id(device.number),
            path: device.path.clone(),
            read_only: device.read_only,
        };
        let pci_path = vm.add_disk(&disk).await.map_err(|source| VolumeError::Vm {
            path: device.path.clone(),
            source,
        })?;
        let first = AttachedDisk {
            pci_path: pci_path.to_string(),
            read_only: device.read_only,
            users: 1,
        };
        let pci_path = first.pci_path.clone();
        attached.insert(device.number, first);
        Ok(pci_path)
    }

    /// Detaches a device for one container; with its last one the disk is removed from the VM.
    pub(super) async fn detach(&self, vm: &dyn Vm, number: u64) -> Result<(), hypervisors::Error> {
        let mut attached = self.0.lock().await;
        let Some(disk) = attached.get_mut(&number) else {
            return Ok(());
        };
        disk.users -= 1;
        if disk.users > 0 {
            return Ok(());
        }
        attached.remove(&number);
        vm.remove_disk(&disk_id(number)).await
    }
}

fn disk_id(number: u64) -> String {
    format!("vol-{number:x}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_very_device_is_taken() {
        assert!(BlockDevice::at(Path::new("/dev/null"), 0x103, false).is_err());
        assert!(BlockDevice::named(Path::new("/etc/passwd"), false).is_err());
        assert!(BlockDevice::numbered(4095, 1, false).is_err());
    }
}

//! Block devices of the host that a container is given: plugged into the VM as disks.

use std::{
    collections::HashMap,
    fs,
    os::unix::fs::{FileTypeExt, MetadataExt},
    path::{Path, PathBuf},
};

use hypervisors::{DiskSpec, Vm};
use nix::{errno::Errno, fcntl::OFlag, sys::stat::Mode};
use tokio::sync::Mutex;

use super::{VolumeError, look::aside};

/// A block device that was found to be one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct BlockDevice {
    path: PathBuf,
    /// Its device number.
    pub(super) number: u64,
    read_only: bool,
}

impl BlockDevice {
    /// The node at `path`, which must have this device number.
    pub(super) fn at(path: &Path, number: u64, read_only: bool) -> Result<Self, VolumeError> {
        let path = fs::canonicalize(path).map_err(VolumeError::io("Resolving", path))?;
        let found = fs::symlink_metadata(&path).map_err(VolumeError::io("Looking at", &path))?;
        if !found.file_type().is_block_device() || found.rdev() != number {
            return Err(VolumeError::Changing { path });
        }
        Ok(Self {
            path,
            number,
            read_only,
        })
    }

    /// The node at `path`, whatever its number.
    pub(super) fn named(path: &Path, read_only: bool) -> Result<Self, VolumeError> {
        let found = fs::metadata(path).map_err(VolumeError::io("Looking at", path))?;
        Self::at(path, found.rdev(), read_only)
    }

    /// The node that the host has for a device number.
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
    /// ruin it. The kernel refuses an exclusive open of what is mounted or part of something else.
    fn in_use(&self) -> Result<bool, VolumeError> {
        let flags = OFlag::O_RDONLY | OFlag::O_EXCL | OFlag::O_NONBLOCK | OFlag::O_CLOEXEC;
        match nix::fcntl::open(&self.path, flags, Mode::empty()) {
            Ok(_closed_at_once) => Ok(false),
            Err(Errno::EBUSY) => Ok(true),
            Err(errno) => Err(VolumeError::io("Opening", &self.path)(errno)),
        }
    }
}

/// The disks of a sandbox's volumes: one for each device, however many containers use it. Two disks
/// on one device would each keep what the other does not know of.
#[derive(Debug, Default)]
pub(super) struct Disks(Mutex<HashMap<u64, Plugged>>);

#[derive(Debug)]
struct Plugged {
    pci_path: String,
    read_only: bool,
    users: usize,
}

impl Disks {
    /// Plugs a device for one more container, and says where the guest finds it. `refuse` makes an
    /// error of a reason.
    pub(super) async fn plug(
        &self,
        vm: &dyn Vm,
        device: &BlockDevice,
        refuse: impl Fn(String) -> VolumeError,
    ) -> Result<String, VolumeError> {
        let mut plugged = self.0.lock().await;
        if let Some(disk) = plugged.get_mut(&device.number) {
            if disk.read_only != device.read_only {
                return Err(refuse(
                    "another container of the pod has the device, and not with the same access"
                        .to_owned(),
                ));
            }
            disk.users += 1;
            return Ok(disk.pci_path.clone());
        }
        let looked_at = device.clone();
        if aside(&device.path, move || looked_at.in_use()).await? {
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
        let first = Plugged {
            pci_path: pci_path.to_string(),
            read_only: device.read_only,
            users: 1,
        };
        let pci_path = first.pci_path.clone();
        plugged.insert(device.number, first);
        Ok(pci_path)
    }

    /// Lets go of a device for one container.
    pub(super) async fn unplug(&self, vm: &dyn Vm, number: u64) -> Result<(), hypervisors::Error> {
        let mut plugged = self.0.lock().await;
        let Some(disk) = plugged.get_mut(&number) else {
            return Ok(());
        };
        disk.users -= 1;
        if disk.users > 0 {
            return Ok(());
        }
        plugged.remove(&number);
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

//! Block devices of the host that a container is given: plugged into the VM as disks.

use std::{
    fs,
    os::unix::fs::{FileTypeExt, MetadataExt},
    path::{Path, PathBuf},
};

use hypervisors::{DiskSpec, PciPath, Vm};
use nix::{errno::Errno, fcntl::OFlag, sys::stat::Mode};
use sha2::{Digest, Sha256};

use super::VolumeError;

/// A block device that was found to be one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct BlockDevice {
    path: PathBuf,
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
        Ok(Self { path, read_only })
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
    pub(super) fn in_use(&self) -> Result<bool, VolumeError> {
        let flags = OFlag::O_RDONLY | OFlag::O_EXCL | OFlag::O_NONBLOCK | OFlag::O_CLOEXEC;
        match nix::fcntl::open(&self.path, flags, Mode::empty()) {
            Ok(_closed_at_once) => Ok(false),
            Err(Errno::EBUSY) => Ok(true),
            Err(errno) => Err(VolumeError::io("Opening", &self.path)(errno)),
        }
    }

    /// Plugs it into the VM, and says where the guest finds it.
    pub(super) async fn plug(&self, vm: &dyn Vm, id: String) -> Result<PciPath, VolumeError> {
        let disk = DiskSpec {
            id,
            path: self.path.clone(),
            read_only: self.read_only,
        };
        vm.add_disk(&disk).await.map_err(|source| VolumeError::Vm {
            path: self.path.clone(),
            source,
        })
    }
}

/// Identifier of the disk of a container's volume, within what monitors allow.
pub(super) fn disk_id(container: &str, destination: &Path) -> String {
    let mut digest = Sha256::new();
    digest.update(container.as_bytes());
    digest.update([0]);
    digest.update(destination.as_os_str().as_encoded_bytes());
    format!("vol-{}", super::hex(&digest.finalize(), 10))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_very_device_is_taken() {
        assert!(BlockDevice::at(Path::new("/dev/null"), 0x103, false).is_err());
        assert!(BlockDevice::numbered(4095, 1, false).is_err());
    }

    #[test]
    fn disks_of_one_container_differ() {
        let (a, b) = (disk_id("c", Path::new("/a")), disk_id("c", Path::new("/b")));
        assert_ne!(a, b);
        assert!(a.len() <= 32);
    }
}

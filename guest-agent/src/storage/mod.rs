//! Storages: what is mounted for a container or the sandbox. Uses are counted by mount point.

mod device;
mod drivers;
mod hugepages;
mod options;

use std::{
    collections::BTreeMap,
    fs, io,
    path::{Component, Path, PathBuf},
    time::Duration,
};

use agent_client::agent::Storage;
use nix::mount::{MntFlags, umount2};
use slog::Logger;
use tokio::sync::Mutex;

pub use self::{drivers::DRIVERS, options::Options};
use crate::{
    error::{Doing, Error, Result},
    log,
    pci::{self, PciPath},
    uevent::Uevents,
};

/// The storages in use.
#[derive(Debug)]
pub struct Storages {
    /// The agent's directory. Containers can write below it.
    root: PathBuf,
    uevents: Uevents,
    /// How long a device may take to appear.
    timeout: Duration,
    log: Logger,
    /// Locked while something is mounted: two containers may ask for the same mount point at once.
    in_use: Mutex<BTreeMap<PathBuf, Use>>,
}

#[derive(Debug)]
struct Use {
    count: usize,
    /// Whether it is a directory that the agent has made, and not a mount.
    directory: bool,
    /// The block device that is mounted, if it is one.
    device: Option<PathBuf>,
}

impl Storages {
    /// Without storages. Storages are below `root`.
    pub fn new(root: PathBuf, uevents: Uevents, timeout: Duration, log: Logger) -> Self {
        Self {
            root,
            uevents,
            timeout,
            log,
            in_use: Mutex::new(BTreeMap::new()),
        }
    }

    /// Mounts `storages` in their order. A mount point that is in use already is shared.
    ///
    /// Returns the mount points, for [`Storages::remove`].
    ///
    /// # Errors
    ///
    /// When a storage cannot be mounted. Those before it are removed.
    pub async fn add(&self, storages: &[Storage]) -> Result<Vec<PathBuf>> {
        let mut added = Vec::new();
        for storage in storages {
            match self.add_one(storage).await {
                Ok(mount_point) => added.push(mount_point),
                Err(error) => {
                    log::cleanup_failure(&self.log, self.remove(&added).await);
                    return Err(error);
                }
            }
        }
        Ok(added)
    }

    async fn add_one(&self, storage: &Storage) -> Result<PathBuf> {
        let mount_point = plain_path(&storage.mount_point)?;
        // Before locking: a device may take long to appear.
        let source = match storage.driver.as_str() {
            "blk" => self.block_device(&storage.source).await?,
            _ => PathBuf::from(&storage.source),
        };
        let mut in_use = self.in_use.lock().await;
        if let Some(shared) = in_use.get_mut(&mount_point) {
            if shared.directory {
                // A container may have removed or replaced it.
                drivers::local(&self.root, storage, &mount_point)?;
            }
            shared.count += 1;
            return Ok(mount_point);
        }
        drivers::mount_storage(&self.root, storage, &source, &mount_point)?;
        // A shared one outlives its containers: the sandbox uses it, too.
        let first = Use {
            count: if storage.shared { 2 } else { 1 },
            directory: storage.driver == "local",
            device: (storage.driver == "blk").then_some(source),
        };
        in_use.insert(mount_point.clone(), first);
        Ok(mount_point)
    }

    /// Ends a use of each of the mount points, in reverse order. A mount point without uses is
    /// unmounted.
    ///
    /// # Errors
    ///
    /// The first error. The other mount points are removed all the same.
    pub async fn remove(&self, mount_points: &[PathBuf]) -> Result<()> {
        let mut in_use = self.in_use.lock().await;
        let mut outcome = Ok(());
        for mount_point in mount_points.iter().rev() {
            let Some(used) = in_use.get_mut(mount_point) else {
                continue;
            };
            used.count -= 1;
            if used.count == 0 {
                let removed = if used.directory {
                    drivers::remove_local(&self.root, mount_point)
                } else {
                    unmount(mount_point).and_then(|()| {
                        // After the answer, the host replaces the content of the device.
                        used.device.as_deref().map_or(Ok(()), device::check_unused)
                    })
                };
                in_use.remove(mount_point);
                outcome = outcome.and(removed);
            }
        }
        outcome
    }

    /// Changes the options, such as the size, of ephemeral storages in use.
    ///
    /// # Errors
    ///
    /// When one is not mounted, or the kernel refuses. Those before it stay changed.
    pub fn remount(&self, storages: &[Storage]) -> Result<()> {
        storages.iter().try_for_each(|storage| {
            drivers::remount(&self.root, storage, &plain_path(&storage.mount_point)?)
        })
    }

    /// Unmounts everything, at the beginning and the end of a sandbox.
    pub async fn remove_all(&self) {
        let mut in_use = self.in_use.lock().await;
        for (mount_point, used) in std::mem::take(&mut *in_use) {
            if !used.directory {
                log::cleanup_failure(&self.log, unmount(&mount_point));
            }
        }
    }

    /// Waits for a block device, given as a PCI path or as its device node, and returns the node.
    ///
    /// # Errors
    ///
    /// When it does not appear in time.
    pub async fn block_device(&self, source: &str) -> Result<PathBuf> {
        if source.starts_with("/dev/") {
            let node = plain_path(source)?;
            return self
                .uevents
                .wait_for(source, self.timeout, || node.exists().then(|| node.clone()))
                .await;
        }
        let path = PciPath::parse(source)?;
        let find = || {
            let name = pci::block_device(&path.find(Path::new(pci::DEVICES))?)?;
            // A disk is in sysfs before it can be opened (ENXIO); its uevent comes when it can.
            Some(Path::new("/dev").join(name)).filter(|node| fs::File::open(node).is_ok())
        };
        let event = format!("a block device at PCI path {source}");
        self.uevents.wait_for(&event, self.timeout, find).await
    }
}

/// An absolute path without `..`.
fn plain_path(text: &str) -> Result<PathBuf> {
    let path = Path::new(text);
    let has_parent = path.components().any(|part| part == Component::ParentDir);
    if path.is_absolute() && !has_parent && !text.contains('\0') {
        Ok(path.to_owned())
    } else {
        Err(Error::Invalid(format!(
            "{text:?} is not an absolute path without \"..\""
        )))
    }
}

/// Unmounts: at once if the mount is not in use, else when it is not any more.
fn unmount(mount_point: &Path) -> Result<()> {
    let busy = umount2(mount_point, MntFlags::UMOUNT_NOFOLLOW);
    match busy.or_else(|_busy| {
        umount2(
            mount_point,
            MntFlags::UMOUNT_NOFOLLOW | MntFlags::MNT_DETACH,
        )
    }) {
        // Not mounted, or removed.
        Err(nix::Error::EINVAL | nix::Error::ENOENT) | Ok(()) => Ok(()),
        Err(errno) => Err(io::Error::from(errno)).on("unmount", mount_point),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_must_be_absolute_and_plain() {
        assert!(plain_path("/run/x").is_ok());
        for wrong in ["", "x", "/a/../b", "/a\0b"] {
            assert!(plain_path(wrong).is_err(), "{wrong:?}");
        }
    }
}

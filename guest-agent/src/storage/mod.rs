//! Storages: what is mounted for a container or a sandbox, and counted by mount point.

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
    /// The agent's directory, below which containers can write.
    root: PathBuf,
    uevents: Uevents,
    /// How long a device may take to appear.
    patience: Duration,
    log: Logger,
    /// Held while something is mounted: two containers may name the same mount point at once.
    in_use: Mutex<BTreeMap<PathBuf, Use>>,
}

#[derive(Debug)]
struct Use {
    count: usize,
    /// Made by us as a plain directory; there is nothing to unmount.
    directory: bool,
    /// The block device that is mounted.
    device: Option<PathBuf>,
}

impl Storages {
    /// No storages yet.
    pub fn new(root: PathBuf, uevents: Uevents, patience: Duration, log: Logger) -> Self {
        Self {
            root,
            uevents,
            patience,
            log,
            in_use: Mutex::new(BTreeMap::new()),
        }
    }

    /// Mounts `storages` in their order. One whose mount point is in use already is shared.
    ///
    /// Returns the mount points, to be given to [`Storages::remove`].
    ///
    /// # Errors
    ///
    /// Those of the first storage that cannot be mounted; the ones before it are removed again.
    pub async fn add(&self, storages: &[Storage]) -> Result<Vec<PathBuf>> {
        let mut added = Vec::new();
        for storage in storages {
            match self.add_one(storage).await {
                Ok(mount_point) => added.push(mount_point),
                Err(error) => {
                    log::not_undone(&self.log, self.remove(&added).await);
                    return Err(error);
                }
            }
        }
        Ok(added)
    }

    async fn add_one(&self, storage: &Storage) -> Result<PathBuf> {
        let mount_point = plain_path(&storage.mount_point)?;
        // Not under the lock: a device may take long to appear.
        let source = match storage.driver.as_str() {
            "blk" => self.block_device(&storage.source).await?,
            _ => PathBuf::from(&storage.source),
        };
        let mut in_use = self.in_use.lock().await;
        if let Some(shared) = in_use.get_mut(&mount_point) {
            if shared.directory {
                // Containers have it in their hands: it may be gone, or be something else by now.
                drivers::local(&self.root, storage, &mount_point)?;
            }
            shared.count += 1;
            return Ok(mount_point);
        }
        drivers::mount_storage(&self.root, storage, &source, &mount_point)?;
        // A shared one outlives the containers that use it: the sandbox holds it as well.
        let first = Use {
            count: if storage.shared { 2 } else { 1 },
            directory: storage.driver == "local",
            device: (storage.driver == "blk").then_some(source),
        };
        in_use.insert(mount_point.clone(), first);
        Ok(mount_point)
    }

    /// Lets go of mount points, the last first; what nobody uses any more is unmounted.
    ///
    /// # Errors
    ///
    /// The first refusal; the others are removed all the same.
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
                        // The host takes a device back when it hears that this was done.
                        used.device.as_deref().map_or(Ok(()), device::is_free)
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
    /// When one is not mounted, or the kernel refuses; earlier ones stay changed.
    pub fn remount(&self, storages: &[Storage]) -> Result<()> {
        storages.iter().try_for_each(|storage| {
            drivers::remount(&self.root, storage, &plain_path(&storage.mount_point)?)
        })
    }

    /// Unmounts everything, for a sandbox that begins anew or ends.
    pub async fn remove_all(&self) {
        let mut in_use = self.in_use.lock().await;
        for (mount_point, used) in std::mem::take(&mut *in_use) {
            if !used.directory {
                log::not_undone(&self.log, unmount(&mount_point));
            }
        }
    }

    /// The node of a block device, given as a PCI path or as the node itself. Waits until it is
    /// there.
    ///
    /// # Errors
    ///
    /// When it does not appear in time.
    pub async fn block_device(&self, source: &str) -> Result<PathBuf> {
        if source.starts_with("/dev/") {
            let node = plain_path(source)?;
            return self
                .uevents
                .wait_for(source, self.patience, || {
                    node.exists().then(|| node.clone())
                })
                .await;
        }
        let path = PciPath::parse(source)?;
        let find = || {
            let name = pci::block_device(&path.find(Path::new(pci::DEVICES))?)?;
            // A disk is shown before it can be opened (ENXIO), and announced once it can.
            Some(Path::new("/dev").join(name)).filter(|node| fs::File::open(node).is_ok())
        };
        let what = format!("a block device at PCI path {source}");
        self.uevents.wait_for(&what, self.patience, find).await
    }
}

/// An absolute path without steps upwards.
fn plain_path(text: &str) -> Result<PathBuf> {
    let path = Path::new(text);
    let steps_up = path.components().any(|part| part == Component::ParentDir);
    if path.is_absolute() && !steps_up && !text.contains('\0') {
        Ok(path.to_owned())
    } else {
        Err(Error::Invalid(format!("{text:?} is no absolute path")))
    }
}

/// Unmounts, at once if nobody is in there, else as soon as nobody is.
fn unmount(mount_point: &Path) -> Result<()> {
    let busy = umount2(mount_point, MntFlags::UMOUNT_NOFOLLOW);
    match busy.or_else(|_busy| {
        umount2(
            mount_point,
            MntFlags::UMOUNT_NOFOLLOW | MntFlags::MNT_DETACH,
        )
    }) {
        // Not mounted, or gone.
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

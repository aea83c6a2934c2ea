//! Packs one image, in a file that has no name until it is complete.

use std::{
    fs::{File, OpenOptions},
    os::{fd::AsRawFd, unix::fs::OpenOptionsExt},
    path::Path,
};

use nix::{
    errno::Errno,
    fcntl::{AT_FDCWD, AtFlags, Flock, FlockArg},
    unistd::linkat,
};

use super::{RootfsError, erofs, tree::Tree, view::with_view};

/// The disk counts as full if less than this is free, in bytes.
const FULL: u64 = 16 << 20;

/// Packs `tree` into a synced file without a name on the file system of `dir`, with a shared lock.
/// `point` is an empty directory, on which the tree is mounted. Closing the file removes it.
pub(super) fn pack(tree: &Tree, dir: &Path, point: &Path) -> Result<Flock<File>, RootfsError> {
    let image = OpenOptions::new()
        .read(true)
        .write(true)
        .mode(0o600)
        .custom_flags(nix::libc::O_TMPFILE)
        .open(dir)
        .map_err(RootfsError::io("Making a nameless file in", dir))?;
    with_view(tree, point, || erofs::make(point, &image)).map_err(|error| match error {
        RootfsError::Mkfs { signal: None, .. } if free_bytes(dir) < FULL => RootfsError::Full {
            dir: dir.to_owned(),
        },
        other => other,
    })?;
    image
        .sync_all()
        .map_err(RootfsError::io("Syncing the image in", dir))?;
    Flock::lock(image, FlockArg::LockSharedNonblock)
        .map_err(|(_, errno)| RootfsError::io("Locking the image in", dir)(errno))
}

/// Gives the image its name in one step, if that is free.
pub(super) fn publish(image: &File, path: &Path, dir: &Path) -> Result<(), RootfsError> {
    let nameless = format!("/proc/self/fd/{}", image.as_raw_fd());
    linkat(
        AT_FDCWD,
        nameless.as_str(),
        AT_FDCWD,
        path,
        AtFlags::AT_SYMLINK_FOLLOW,
    )
    .map_err(RootfsError::io::<Errno>("Naming", path))?;
    File::open(dir)
        .and_then(|dir| dir.sync_all())
        .map_err(RootfsError::io("Syncing", dir))
}

fn free_bytes(dir: &Path) -> u64 {
    rustix::fs::statvfs(dir).map_or(u64::MAX, |fs| fs.f_bavail.saturating_mul(fs.f_frsize))
}

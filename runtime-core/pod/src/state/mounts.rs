//! Undoes mounts that a shim left behind.

use std::{
    io,
    path::{Path, PathBuf},
};

use nix::{
    errno::Errno,
    mount::{MntFlags, umount2},
};
use system::mounts;

/// Unmounts `path` once, if it is a mount point. It disappears at once, even if it is in use.
/// Returns whether something was unmounted.
pub(super) fn unmount(path: &Path) -> io::Result<bool> {
    match umount2(path, MntFlags::MNT_DETACH | MntFlags::UMOUNT_NOFOLLOW) {
        Ok(()) => Ok(true),
        Err(Errno::EINVAL | Errno::ENOENT) => Ok(false),
        Err(error) => Err(error.into()),
    }
}

/// Mount points at or below `dir` in the calling thread's mount namespace, the latest first.
pub(super) fn below(dir: &Path) -> io::Result<Vec<PathBuf>> {
    let points = mounts::all()?.into_iter().map(|mount| mount.point);
    let mut found: Vec<PathBuf> = points.filter(|point| point.starts_with(dir)).collect();
    found.reverse();
    Ok(found)
}

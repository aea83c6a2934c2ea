//! Undoes mounts that a shim left behind.

use std::{
    ffi::OsString,
    fs, io,
    os::unix::ffi::OsStringExt,
    path::{Path, PathBuf},
};

use nix::{
    errno::Errno,
    mount::{MntFlags, umount2},
};
use system::mountinfo::unescape;

/// Unmounts `path`, once, if it is a mount point. It is taken out of the tree at once; what still
/// uses it keeps it alive. Says whether anything was unmounted.
pub(super) fn unmount(path: &Path) -> io::Result<bool> {
    match umount2(path, MntFlags::MNT_DETACH | MntFlags::UMOUNT_NOFOLLOW) {
        Ok(()) => Ok(true),
        Err(Errno::EINVAL | Errno::ENOENT) => Ok(false),
        Err(error) => Err(error.into()),
    }
}

/// Mount points at or below `dir`, the last made first.
pub(super) fn below(dir: &Path) -> io::Result<Vec<PathBuf>> {
    // The thread's own table: a caller may work in another namespace than its process.
    let table = fs::read("/proc/thread-self/mountinfo")?;
    let mut found: Vec<PathBuf> = table
        .split(|&byte| byte == b'\n')
        .filter_map(|line| line.split(|&byte| byte == b' ').nth(4))
        .map(|point| PathBuf::from(OsString::from_vec(unescape(point))))
        .filter(|point| point.starts_with(dir))
        .collect();
    found.reverse();
    Ok(found)
}

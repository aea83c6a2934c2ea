//! Block devices whose content the host can replace while they are not mounted.

use std::{
    fs::{File, OpenOptions},
    io,
    os::{fd::AsFd, unix::fs::OpenOptionsExt},
    path::Path,
};

use nix::errno::Errno;

use crate::{
    error::{Doing, Error, Result},
    syscalls,
};

/// Drops what the kernel has cached of the device's content, so that a mount shows the present
/// content.
///
/// # Errors
///
/// When the device is in use: a second mount would show the file system that is mounted already,
/// whatever is on the device by now.
pub fn drop_cache(device: &Path) -> Result<()> {
    let open = open_exclusively(device).on("mount", device)?;
    syscalls::drop_buffers(open.as_fd()).on("drop the cache of", device)
}

/// Checks that the device is not mounted anywhere any more.
///
/// # Errors
///
/// When it is, as in a mount namespace that some process has kept.
pub fn check_unused(device: &Path) -> Result<()> {
    match open_exclusively(device) {
        Err(error) if error.raw_os_error() == Some(Errno::EBUSY as i32) => Err(Error::State(
            format!("{} is still in use", device.display()),
        )),
        // A device that was unplugged is unused, too.
        _ => Ok(()),
    }
}

/// Fails with `EBUSY` for a mounted device (`blkdev_get`, Linux, block/bdev.c).
fn open_exclusively(device: &Path) -> io::Result<File> {
    OpenOptions::new()
        .read(true)
        .custom_flags(libc::O_EXCL)
        .open(device)
}

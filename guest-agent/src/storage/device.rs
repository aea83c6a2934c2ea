//! Block devices whose content the host may exchange while nobody uses them.

use std::{
    fs::{File, OpenOptions},
    io,
    os::{fd::AsFd, unix::fs::OpenOptionsExt},
    path::Path,
};

use nix::errno::Errno;

use crate::{
    error::{Doing, Error, Result},
    raw,
};

/// Drops what the kernel keeps of the device's content, so that what is mounted is what is there
/// now.
///
/// # Errors
///
/// When the device is in use: the kernel would give out the file system that is mounted already,
/// whatever the device holds by now.
pub fn forget_content(device: &Path) -> Result<()> {
    let open = exclusive(device).on("use for a mount", device)?;
    raw::drop_buffers(open.as_fd()).on("drop what is kept of", device)
}

/// Whether nothing of the device is mounted any more; what is left behind keeps its content in use.
///
/// # Errors
///
/// When something is.
pub fn is_free(device: &Path) -> Result<()> {
    match exclusive(device) {
        Err(error) if error.raw_os_error() == Some(Errno::EBUSY as i32) => Err(Error::State(
            format!("{} is still in use", device.display()),
        )),
        // One that was taken away is free as well.
        _ => Ok(()),
    }
}

/// A mounted device refuses to be opened so (`blkdev_get`, Linux, block/bdev.c).
fn exclusive(device: &Path) -> io::Result<File> {
    OpenOptions::new()
        .read(true)
        .custom_flags(libc::O_EXCL)
        .open(device)
}

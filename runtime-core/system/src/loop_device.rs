//! Loop devices (loop(4)) whose backing file is swapped while the device is open.
//!
//! `unsafe`: the kernel's requests for them have no safe wrapper.
#![allow(unsafe_code)]

use std::{
    fs::File,
    io,
    os::fd::AsRawFd,
    path::{Path, PathBuf},
};

use linux_raw_sys::loop_device::{
    LO_FLAGS_AUTOCLEAR, LO_FLAGS_READ_ONLY, LOOP_CHANGE_FD, LOOP_CONFIGURE, LOOP_CTL_GET_FREE,
    loop_config, loop_info64,
};

use crate::answer;

/// Allocates the numbers of free devices.
const CONTROL: &str = "/dev/loop-control";

/// BLKFLSBUF of linux/fs.h: drops the cached content of a block device.
const DROP_BUFFERS: libc::Ioctl = 0x1261;

/// How often a free device may be taken by another process before it is an error.
const ATTEMPTS: usize = 256;

/// Whether this process may allocate loop devices.
#[must_use]
pub fn are_available() -> bool {
    File::open(CONTROL).is_ok()
}

/// A read-only block device of a fixed size. The kernel frees it after its last descriptor was
/// closed, here and elsewhere.
#[derive(Debug)]
pub struct LoopDevice {
    device: File,
    path: PathBuf,
}

impl LoopDevice {
    /// Allocates a device that shows the first `bytes` of a file.
    ///
    /// # Errors
    /// The host has no loop devices, or this process may not use them.
    pub fn attach(file: &File, bytes: u64) -> io::Result<Self> {
        let control = File::open(CONTROL)?;
        let request = LOOP_CTL_GET_FREE as libc::Ioctl;
        for _ in 0..ATTEMPTS {
            // SAFETY: the descriptor is open, and the request takes no argument.
            let number = answer(unsafe { libc::ioctl(control.as_raw_fd(), request) })?;
            match Self::numbered(number, file, bytes) {
                Err(error) if was_taken(&error) => {}
                other => return other,
            }
        }
        Err(io::Error::other(
            "other processes took every free loop device",
        ))
    }

    fn numbered(number: i32, file: &File, bytes: u64) -> io::Result<Self> {
        let path = PathBuf::from(format!("/dev/loop{number}"));
        let device = File::open(&path)?;
        configure(&device, file, bytes)?;
        Ok(Self { device, path })
    }

    /// Path of the device, as in `/dev/loop7`.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Replaces the backing file, closes the one before, and drops what was cached of it.
    ///
    /// # Errors
    /// The file is smaller than the device, or the kernel refuses it. If only the cache could not
    /// be dropped, the file was replaced nevertheless.
    pub fn show(&self, file: &File) -> io::Result<()> {
        let (device, request) = (self.device.as_raw_fd(), LOOP_CHANGE_FD as libc::Ioctl);
        // SAFETY: both descriptors are open; the argument is a descriptor, which the kernel checks.
        answer(unsafe { libc::ioctl(device, request, file.as_raw_fd()) })?;
        // Content may be cached still, or again.
        // SAFETY: the descriptor is open, and the request takes no argument.
        answer(unsafe { libc::ioctl(device, DROP_BUFFERS) })?;
        Ok(())
    }
}

/// Whether another process has taken the device since its number was allocated.
fn was_taken(error: &io::Error) -> bool {
    let codes = [libc::EBUSY, libc::ENXIO, libc::ENOENT];
    codes.iter().any(|code| error.raw_os_error() == Some(*code))
}

fn configure(device: &File, file: &File, bytes: u64) -> io::Result<()> {
    let config = loop_config {
        fd: file.as_raw_fd().unsigned_abs(),
        block_size: 0,
        info: loop_info64 {
            lo_device: 0,
            lo_inode: 0,
            lo_rdevice: 0,
            lo_offset: 0,
            lo_sizelimit: bytes,
            lo_number: 0,
            lo_encrypt_type: 0,
            lo_encrypt_key_size: 0,
            lo_flags: LO_FLAGS_READ_ONLY as u32 | LO_FLAGS_AUTOCLEAR as u32,
            lo_file_name: [0; 64],
            lo_crypt_name: [0; 64],
            lo_encrypt_key: [0; 32],
            lo_init: [0; 2],
        },
        __reserved: [0; 8],
    };
    let request = LOOP_CONFIGURE as libc::Ioctl;
    // SAFETY: the descriptor is open, and the kernel reads one `loop_config` from the pointer.
    answer(unsafe { libc::ioctl(device.as_raw_fd(), request, &raw const config) })?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::{fs, io::Read, os::unix::fs::FileExt};

    use super::*;

    const BYTES: u64 = 1 << 20;

    fn file(dir: &Path, name: &str, bytes: u64) -> File {
        let path = dir.join(name);
        fs::write(&path, name).unwrap();
        let file = File::options().read(true).write(true).open(path).unwrap();
        file.set_len(bytes).unwrap();
        file
    }

    fn word(device: &File) -> String {
        let mut word = [0; 5];
        device.read_exact_at(&mut word, 0).unwrap();
        String::from_utf8(word.to_vec()).unwrap()
    }

    #[test]
    fn whoever_has_it_open_reads_what_it_shows_now() {
        let dir = tempfile::tempdir().unwrap();
        let first = file(dir.path(), "first", BYTES);
        let device = match LoopDevice::attach(&first, BYTES) {
            Ok(device) => device,
            Err(error) => return eprintln!("SKIPPED: no loop device: {error}"),
        };
        let mut reader = File::open(device.path()).unwrap();
        assert_eq!(word(&reader), "first");
        let other = file(dir.path(), "other", 2 * BYTES);
        device.show(&other).unwrap();
        assert_eq!(word(&reader), "other");
        let short = file(dir.path(), "short", BYTES - 512);
        assert_eq!(
            device.show(&short).unwrap_err().raw_os_error(),
            Some(libc::EINVAL)
        );
        assert_eq!(word(&reader), "other");
        let mut all = Vec::new();
        assert_eq!(reader.read_to_end(&mut all).unwrap() as u64, BYTES);
        let writer = File::options().write(true).open(device.path());
        assert!(writer.and_then(|device| device.write_at(b"x", 0)).is_err());
    }
}

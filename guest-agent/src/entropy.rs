//! Fresh randomness for the guest kernel's generator.
#![allow(unsafe_code)]

use std::{
    fs::{self, File},
    io::{Read, Write},
    os::{fd::AsRawFd, unix::fs::OpenOptionsExt},
    path::Path,
};

use crate::error::{Doing, Error, Result};

mod ioctl {
    // From linux/random.h.
    nix::ioctl_write_ptr!(add_to_entropy_count, b'R', 0x01, libc::c_int);
    nix::ioctl_none!(reseed, b'R', 0x07);
}

/// The device of the monitor's random numbers.
const DEVICE: &str = "/dev/hwrng";
/// How much of them is thrown away at most: its driver fetches 64 bytes in advance (Linux 6.1,
/// drivers/char/hw_random/virtio-rng.c), and the kernel's core keeps no more than that.
const FETCHED: usize = 128;

/// Throws away what the driver of the monitor's random numbers had fetched in advance: in a clone that is
/// what all clones of its template have.
pub fn drop_fetched() {
    if let Some(device) = device() {
        let _thrown_away = fetched(device, FETCHED);
    }
}

/// Random numbers of the monitor, as far as the driver has some; nothing where there is no such device.
pub fn of_the_monitor(most: usize) -> Vec<u8> {
    device().map_or_else(Vec::new, |device| fetched(device, most))
}

/// Reading it never waits for the monitor.
fn device() -> Option<File> {
    let mut options = File::options();
    options.read(true).custom_flags(libc::O_NONBLOCK);
    options.open(DEVICE).ok()
}

/// Reads until there is nothing more for now, `most` bytes at most.
fn fetched(mut device: impl Read, most: usize) -> Vec<u8> {
    let mut bytes = vec![0; most];
    let mut filled = 0;
    while let Some(rest) = bytes.get_mut(filled..).filter(|rest| !rest.is_empty()) {
        match device.read(rest) {
            Ok(0) | Err(_) => break,
            Ok(read) => filled += read,
        }
    }
    bytes.truncate(filled);
    bytes
}

/// Feeds `seed` to the kernel's generator, credits it, and has the generator use it at once.
///
/// After this two clones of one template have nothing in common in what they draw.
///
/// # Errors
///
/// When `seed` is empty, or the kernel refuses (it wants CAP_SYS_ADMIN).
pub fn reseed(seed: &[u8]) -> Result<()> {
    if seed.is_empty() {
        return Err(Error::Invalid("no random data to reseed with".into()));
    }
    let bits = libc::c_int::try_from(seed.len().saturating_mul(8)).unwrap_or(libc::c_int::MAX);
    let mut device = File::options()
        .write(true)
        .open("/dev/random")
        .doing(|| "open /dev/random".into())?;
    device
        .write_all(seed)
        .doing(|| "write to /dev/random".into())?;
    // SAFETY: the descriptor is open for the length of the call, and the kernel reads one int.
    unsafe { ioctl::add_to_entropy_count(device.as_raw_fd(), &raw const bits) }
        .doing(|| "credit the entropy".into())?;
    // SAFETY: the descriptor is open for the length of the call, which takes no argument.
    unsafe { ioctl::reseed(device.as_raw_fd()) }.doing(|| "reseed the generator".into())?;
    Ok(())
}

/// Writes a new machine id to `path`. The boot id needs nothing: the kernel draws it when it is
/// first read, and the agent does not read it.
///
/// # Errors
///
/// When the kernel gives no random number or the file cannot be written.
pub fn renew_machine_id(path: &Path) -> Result<()> {
    let uuid = "/proc/sys/kernel/random/uuid";
    let drawn = fs::read_to_string(uuid).doing(|| format!("read {uuid}"))?;
    let mut id: String = drawn.chars().filter(char::is_ascii_hexdigit).collect();
    id.push('\n');
    fs::write(path, id).on("write", path)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Gives a few bytes at a time, and then nothing for now.
    struct Trickle(usize);

    impl Read for Trickle {
        fn read(&mut self, into: &mut [u8]) -> std::io::Result<usize> {
            if self.0 == 0 {
                return Err(std::io::ErrorKind::WouldBlock.into());
            }
            let given = into.len().min(self.0).min(24);
            self.0 -= given;
            Ok(given)
        }
    }

    #[test]
    fn what_was_fetched_is_read_to_its_end() {
        assert_eq!(fetched(Trickle(64), FETCHED).len(), 64);
        assert_eq!(fetched(Trickle(1000), FETCHED).len(), FETCHED);
        assert_eq!(fetched(&[][..], FETCHED).len(), 0);
    }

    #[test]
    fn an_empty_seed_is_refused() {
        assert!(matches!(reseed(&[]), Err(Error::Invalid(_))));
    }
}

//! Fresh randomness for the guest kernel's random generator.

use std::{
    fs::{self, File},
    io::{Read, Write},
    os::{fd::AsFd, unix::fs::OpenOptionsExt},
    path::Path,
};

use crate::{
    error::{Doing, Error, Result},
    syscalls,
};

/// The device that gives the random numbers of the VMM (virtio-rng).
const HWRNG: &str = "/dev/hwrng";
/// Most bytes that were fetched from the VMM in advance: 64 by the driver, and no more by the
/// kernel's core (Linux 6.1, drivers/char/hw_random).
const PREFETCHED: usize = 128;

/// Discards the random numbers that the driver had fetched from the VMM before the template was
/// saved: all clones of the template have the same.
pub fn discard_prefetched() {
    if let Some(device) = open_hwrng() {
        let _discarded = read_available(device, PREFETCHED);
    }
}

/// At most `max` bytes of the VMM's random numbers, as many as the driver has; empty without such a
/// device.
pub fn vmm_random(max: usize) -> Vec<u8> {
    open_hwrng().map_or_else(Vec::new, |device| read_available(device, max))
}

/// Opened so that reading never waits for the VMM.
fn open_hwrng() -> Option<File> {
    let mut options = File::options();
    options.read(true).custom_flags(libc::O_NONBLOCK);
    options.open(HWRNG).ok()
}

/// Reads at most `max` bytes, until the device has no more for now.
fn read_available(mut device: impl Read, max: usize) -> Vec<u8> {
    let mut bytes = vec![0; max];
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

/// Adds `seed` to the entropy pool of the kernel's random generator, and makes the generator use
/// it at once.
///
/// After this, two clones of one template draw different numbers.
///
/// # Errors
///
/// When `seed` is empty, or without CAP_SYS_ADMIN.
pub fn reseed(seed: &[u8]) -> Result<()> {
    if seed.is_empty() {
        return Err(Error::Invalid("the request has no random data".into()));
    }
    let bits = libc::c_int::try_from(seed.len().saturating_mul(8)).unwrap_or(libc::c_int::MAX);
    let mut device = File::options()
        .write(true)
        .open("/dev/random")
        .doing(|| "open /dev/random".into())?;
    device
        .write_all(seed)
        .doing(|| "write to /dev/random".into())?;
    syscalls::add_to_entropy_count(device.as_fd(), bits).doing(|| "credit the entropy".into())?;
    syscalls::reseed(device.as_fd()).doing(|| "reseed the random generator".into())
}

/// Writes a new machine ID to `path`. The boot ID needs no renewal: the kernel draws it when it is
/// first read, and before a template is saved nothing reads it.
///
/// # Errors
///
/// When the kernel gives no random number, or the file cannot be written.
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

    /// Gives a few bytes at a time, and then has none for now.
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
    fn what_was_prefetched_is_read_to_its_end() {
        assert_eq!(read_available(Trickle(64), PREFETCHED).len(), 64);
        assert_eq!(read_available(Trickle(1000), PREFETCHED).len(), PREFETCHED);
        assert_eq!(read_available(&[][..], PREFETCHED).len(), 0);
    }

    #[test]
    fn an_empty_seed_is_refused() {
        assert!(matches!(reseed(&[]), Err(Error::Invalid(_))));
    }
}

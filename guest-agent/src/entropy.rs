//! Fresh randomness for the guest kernel's generator.
#![allow(unsafe_code)]

use std::{
    fs::{self, File},
    io::Write,
    os::fd::AsRawFd,
    path::Path,
};

use crate::error::{Doing, Error, Result};

mod ioctl {
    // From linux/random.h.
    nix::ioctl_write_ptr!(add_to_entropy_count, b'R', 0x01, libc::c_int);
    nix::ioctl_none!(reseed, b'R', 0x07);
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

    #[test]
    fn an_empty_seed_is_refused() {
        assert!(matches!(reseed(&[]), Err(Error::Invalid(_))));
    }
}

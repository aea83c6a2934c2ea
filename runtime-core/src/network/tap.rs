//! Opens taps: the one ioctl for which there is no safe wrapper.
#![allow(unsafe_code)]

use std::{
    ffi::c_short,
    fs::OpenOptions,
    io,
    os::{
        fd::{AsRawFd, OwnedFd},
        unix::fs::OpenOptionsExt,
    },
};

use nix::libc;

const DEVICE: &str = "/dev/net/tun";
/// Frames with a `virtio_net_hdr` in front and nothing else (Linux, networking/tuntap.rst).
const FLAGS: libc::c_int = libc::IFF_TAP | libc::IFF_NO_PI | libc::IFF_VNET_HDR;

/// Makes the tap `name` in the network namespace of the calling thread. It is gone when its last
/// descriptor is closed.
pub(super) fn open(name: &str) -> io::Result<OwnedFd> {
    let device = OpenOptions::new()
        .read(true)
        .write(true)
        .custom_flags(libc::O_NONBLOCK)
        .open(DEVICE)?;
    // SAFETY: all fields of `ifreq` are integers, arrays of them or pointers; zeroes are valid.
    let mut request: libc::ifreq = unsafe { std::mem::zeroed() };
    let bytes = name.as_bytes();
    // One byte must stay zero: the name ends there.
    if bytes.is_empty() || bytes.len() >= request.ifr_name.len() || bytes.contains(&0) {
        return Err(io::Error::from(io::ErrorKind::InvalidInput));
    }
    for (to, from) in request.ifr_name.iter_mut().zip(bytes) {
        *to = from.cast_signed();
    }
    request.ifr_ifru.ifru_flags =
        c_short::try_from(FLAGS).map_err(|_| io::ErrorKind::InvalidInput)?;
    // SAFETY: the descriptor is open, and TUNSETIFF reads and writes one `ifreq`, which outlives
    // the call (Linux, include/uapi/linux/if_tun.h).
    let done = unsafe { libc::ioctl(device.as_raw_fd(), libc::TUNSETIFF, &raw mut request) };
    if done < 0 {
        Err(io::Error::last_os_error())
    } else {
        Ok(device.into())
    }
}

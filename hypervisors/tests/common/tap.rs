//! A tap that lives as long as its descriptor.

#![allow(unsafe_code)]

use std::{
    fs::File,
    os::{fd::AsRawFd, unix::fs::OpenOptionsExt},
};

nix::ioctl_write_ptr_bad!(tun_set_iff, libc::TUNSETIFF, libc::ifreq);

/// Makes one, or says why this machine does not let us.
pub fn tap() -> std::io::Result<File> {
    let file = File::options()
        .read(true)
        .write(true)
        // A VMM that reads it takes what is there.
        .custom_flags(libc::O_NONBLOCK)
        .open("/dev/net/tun")?;
    // SAFETY: all fields of `ifreq` are integers, arrays and pointers, for which zero is valid.
    let mut request: libc::ifreq = unsafe { std::mem::zeroed() };
    let flags = libc::IFF_TAP | libc::IFF_NO_PI | libc::IFF_VNET_HDR;
    request.ifr_ifru.ifru_flags = flags as libc::c_short;
    // SAFETY: TUNSETIFF reads and writes one `ifreq`, which outlives the call.
    unsafe { tun_set_iff(file.as_raw_fd(), &raw const request) }?;
    Ok(file)
}

//! Taps: the one ioctl for which there is no safe wrapper.
#![allow(unsafe_code)]

use std::{
    ffi::{CStr, c_short},
    fs::OpenOptions,
    io,
    os::{
        fd::{AsRawFd, OwnedFd},
        unix::fs::OpenOptionsExt,
    },
    sync::Arc,
};

use hypervisors::NicSpec;
use nix::{libc, net::if_::if_nametoindex};
use uuid::Uuid;

use super::model::mac_text;

const DEVICE: &str = "/dev/net/tun";
/// Frames with a `virtio_net_hdr` in front and nothing else (Linux, networking/tuntap.rst).
const FLAGS: libc::c_int = libc::IFF_TAP | libc::IFF_NO_PI | libc::IFF_VNET_HDR;

/// Pattern of the names: the kernel puts the first number in that is free.
const NAME: &str = "tap%d_imprint";

/// A tap: an interface of its network namespace, whose other end a VM has. It is gone when its last
/// descriptor is closed.
#[derive(Debug, Clone)]
pub struct Tap {
    /// The interface's name.
    pub name: String,
    /// The kernel's number for it.
    pub index: u32,
    /// The other end.
    pub descriptor: Arc<OwnedFd>,
}

impl Tap {
    /// A NIC with this tap, and with a random address until the guest is told its own.
    #[must_use]
    pub fn nic(&self) -> NicSpec {
        let [a, b, c, d, e, f, ..] = Uuid::new_v4().into_bytes();
        // Locally administered, and of one interface (IEEE 802, 8.2.2).
        let first = a & 0xfc | 0x02;
        NicSpec {
            mac: mac_text(&[first, b, c, d, e, f]),
            tap: Arc::clone(&self.descriptor),
        }
    }
}

/// Makes a tap in the network namespace of the calling thread. It is down and connected to nothing.
pub(super) fn open() -> io::Result<Tap> {
    let device = OpenOptions::new()
        .read(true)
        .write(true)
        .custom_flags(libc::O_NONBLOCK)
        .open(DEVICE)?;
    // SAFETY: all fields of `ifreq` are integers, arrays of them or pointers; zeroes are valid.
    let mut request: libc::ifreq = unsafe { std::mem::zeroed() };
    // The pattern is shorter than the array, so a zero ends it.
    for (to, from) in request.ifr_name.iter_mut().zip(NAME.bytes()) {
        *to = from.cast_signed();
    }
    request.ifr_ifru.ifru_flags =
        c_short::try_from(FLAGS).map_err(|_| io::ErrorKind::InvalidInput)?;
    // SAFETY: the descriptor is open, and TUNSETIFF reads and writes one `ifreq`, which outlives
    // the call (Linux, include/uapi/linux/if_tun.h).
    let done = unsafe { libc::ioctl(device.as_raw_fd(), libc::TUNSETIFF, &raw mut request) };
    if done < 0 {
        return Err(io::Error::last_os_error());
    }
    let name = request.ifr_name.map(i8::cast_unsigned);
    let name = CStr::from_bytes_until_nul(&name).map_err(io::Error::other)?;
    let name = name.to_str().map_err(io::Error::other)?.to_owned();
    Ok(Tap {
        index: if_nametoindex(name.as_str())?,
        name,
        descriptor: Arc::new(device.into()),
    })
}

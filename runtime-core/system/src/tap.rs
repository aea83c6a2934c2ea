//! Taps: network interfaces whose other end is a descriptor (Linux, networking/tuntap.rst).
//!
//! `unsafe`: the ioctl that makes a tap has no safe wrapper.
#![allow(unsafe_code)]

use std::{
    ffi::CStr,
    fs::OpenOptions,
    io,
    os::{
        fd::{AsRawFd, OwnedFd},
        unix::fs::OpenOptionsExt,
    },
};

use crate::answer;

const DEVICE: &str = "/dev/net/tun";
/// Frames with a `virtio_net_hdr` in front and nothing else.
const FLAGS: libc::c_int = libc::IFF_TAP | libc::IFF_NO_PI | libc::IFF_VNET_HDR;

/// `struct ifreq` with the flags of an interface (netdevice(7)).
#[repr(C)]
struct Request {
    name: [u8; libc::IFNAMSIZ],
    flags: u16,
    rest: [u8; REST],
}

const REST: usize = size_of::<libc::ifreq>() - libc::IFNAMSIZ - size_of::<u16>();
const _: () = assert!(size_of::<Request>() == size_of::<libc::ifreq>());

/// Makes a tap in the network namespace of the calling thread. Returns the non-blocking descriptor
/// for its frames, and its name. The interface is down, and is removed when the last copy of the
/// descriptor is closed.
///
/// The kernel replaces `%d` in `name` by the first free number, and chooses a name if it is empty.
///
/// # Errors
/// The name is too long ([`io::ErrorKind::InvalidInput`]) or taken, there is no `/dev/net/tun`, or
/// this process may not make interfaces.
pub fn open(name: &str) -> io::Result<(OwnedFd, String)> {
    let device = OpenOptions::new()
        .read(true)
        .write(true)
        .custom_flags(libc::O_NONBLOCK)
        .open(DEVICE)?;
    let mut request = Request {
        name: padded(name)?,
        flags: u16::try_from(FLAGS).map_err(io::Error::other)?,
        rest: [0; REST],
    };
    // SAFETY: the descriptor is open, and TUNSETIFF reads and writes one `ifreq`, which outlives
    // the call (Linux, include/uapi/linux/if_tun.h). `Request` has its length, and takes any bytes.
    answer(unsafe { libc::ioctl(device.as_raw_fd(), libc::TUNSETIFF, &raw mut request) })?;
    let name = CStr::from_bytes_until_nul(&request.name).map_err(io::Error::other)?;
    let name = name.to_str().map_err(io::Error::other)?.to_owned();
    Ok((device.into(), name))
}

/// The name with a zero behind it.
fn padded(name: &str) -> io::Result<[u8; libc::IFNAMSIZ]> {
    let mut padded = [0; libc::IFNAMSIZ];
    match padded.get_mut(..name.len()) {
        Some(place) if name.len() < libc::IFNAMSIZ => place.copy_from_slice(name.as_bytes()),
        _ => return Err(io::ErrorKind::InvalidInput.into()),
    }
    Ok(padded)
}

#[cfg(test)]
mod tests {
    use std::{fs, thread};

    use nix::sched::{CloneFlags, unshare};

    use super::*;

    #[test]
    fn a_name_has_room_for_its_end() {
        assert_eq!(padded("tap").unwrap()[..4], *b"tap\0");
        assert!(padded("fifteen_letters").is_ok());
        assert!(padded("sixteen__letters").is_err());
        assert!(padded(&"x".repeat(99)).is_err());
    }

    /// In a network namespace of this test's own.
    #[test]
    fn taps_are_numbered_and_go_with_their_descriptor() {
        let names = || fs::read_to_string("/proc/thread-self/net/dev").unwrap();
        let test = move || {
            if let Err(error) = unshare(CloneFlags::CLONE_NEWNET) {
                return eprintln!("SKIPPED: no network namespace: {error}");
            }
            let first = match open("test%d") {
                Ok(first) => first,
                Err(error) => return eprintln!("SKIPPED: no tap: {error}"),
            };
            let second = open("test%d").unwrap();
            assert_eq!((first.1.as_str(), second.1.as_str()), ("test0", "test1"));
            assert!(names().contains("test0:"));
            assert_eq!(
                open("test1").unwrap_err().kind(),
                io::ErrorKind::ResourceBusy
            );
            drop(first);
            assert!(!names().contains("test0:"));
        };
        thread::spawn(test).join().unwrap();
    }
}

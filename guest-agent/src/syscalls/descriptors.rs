//! File descriptors: received, accepted, watched, closed.

use std::{
    io::{self, IoSliceMut},
    os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd, RawFd},
};

use nix::{
    errno::Errno,
    sys::socket::{ControlMessageOwned, MsgFlags, SockFlag, accept4, recvmsg},
};
use tokio::io::{Interest, unix::AsyncFd};

/// Most descriptors that one message carries: standard input, output and error.
const MAX_DESCRIPTORS: usize = 3;

/// Receives a message of at most `data.len()` bytes, and the descriptors that came with it.
///
/// Returns the message's length; 0 means that the other side has closed the socket.
///
/// # Errors
///
/// Those of recvmsg(2), except for `EINTR`.
pub fn receive_with_descriptors(
    socket: BorrowedFd<'_>,
    data: &mut [u8],
) -> io::Result<(usize, Vec<OwnedFd>)> {
    let mut space = nix::cmsg_space!([RawFd; MAX_DESCRIPTORS]);
    loop {
        let mut slices = [IoSliceMut::new(data)];
        let flags = MsgFlags::MSG_CMSG_CLOEXEC;
        let message = match recvmsg::<()>(socket.as_raw_fd(), &mut slices, Some(&mut space), flags)
        {
            Err(Errno::EINTR) => continue,
            received => received?,
        };
        let mut descriptors = Vec::new();
        for control in message.cmsgs()? {
            if let ControlMessageOwned::ScmRights(received) = control {
                // SAFETY: the kernel has just made these descriptors for this process, and nothing
                // else uses them.
                let owned = |descriptor| unsafe { OwnedFd::from_raw_fd(descriptor) };
                descriptors.extend(received.into_iter().map(owned));
            }
        }
        return Ok((message.bytes, descriptors));
    }
}

/// Accepts a connection. Does not wait for one if `listener` does not block.
///
/// # Errors
///
/// Those of accept(2).
pub fn accept(listener: BorrowedFd<'_>) -> Result<OwnedFd, Errno> {
    let flags = SockFlag::SOCK_CLOEXEC | SockFlag::SOCK_NONBLOCK;
    let connection = accept4(listener.as_raw_fd(), flags)?;
    // SAFETY: the kernel has just made this descriptor, and nothing else uses it.
    Ok(unsafe { OwnedFd::from_raw_fd(connection) })
}

/// Lets the event loop watch a descriptor that does not block.
///
/// # Errors
///
/// When it is of a kind that epoll(7) cannot watch.
pub fn watch(descriptor: OwnedFd, interest: Interest) -> io::Result<AsyncFd<OwnedFd>> {
    // SAFETY: an `OwnedFd` keeps the same descriptor open until the `AsyncFd`, which now owns it,
    // is dropped.
    unsafe { AsyncFd::register_with_interest(descriptor, interest) }.map_err(Into::into)
}

/// Closes all descriptors that this program inherited, except for its standard streams. To be
/// called before the program opens anything.
///
/// # Errors
///
/// Those of close_range(2) (Linux 5.9).
pub fn close_inherited() -> io::Result<()> {
    let (first, last, flags): (libc::c_uint, libc::c_uint, libc::c_uint) =
        (3, libc::c_uint::MAX, 0);
    // SAFETY: the call takes numbers only. Nothing in this program owns a descriptor yet, as the
    // caller ensures.
    let outcome = unsafe { libc::syscall(libc::SYS_close_range, first, last, flags) };
    Errno::result(outcome)?;
    Ok(())
}

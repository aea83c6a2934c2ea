//! File descriptors sent through a unix socket, beside bytes.

use std::{
    io::{self, IoSlice},
    os::fd::RawFd,
};

use nix::sys::socket::{ControlMessage, MsgFlags, sendmsg};

/// Sends as much of `bytes` as goes at once; all of `fds` travel with the first byte.
pub fn send_once(socket: RawFd, bytes: &[u8], fds: &[RawFd]) -> io::Result<usize> {
    let rights = [ControlMessage::ScmRights(fds)];
    let control = if fds.is_empty() { &[][..] } else { &rights[..] };
    let sent = sendmsg::<()>(
        socket,
        &[IoSlice::new(bytes)],
        control,
        MsgFlags::MSG_NOSIGNAL,
        None,
    )?;
    Ok(sent)
}

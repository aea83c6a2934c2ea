//! Bytes and descriptors out to QEMU.

use std::{
    io::{self, IoSlice},
    os::fd::{AsRawFd, OwnedFd, RawFd},
};

use nix::sys::socket::{ControlMessage, MsgFlags, sendmsg};
use tokio::{io::Interest, net::unix::OwnedWriteHalf};

/// Writes all of `bytes`; the descriptor travels with the first of them, as `getfd` expects.
pub async fn send(to: &OwnedWriteHalf, bytes: &[u8], fd: Option<&OwnedFd>) -> io::Result<()> {
    let mut sent = 0;
    let mut fds: Vec<RawFd> = fd.iter().map(|fd| fd.as_raw_fd()).collect();
    while sent < bytes.len() {
        let stream = to.as_ref();
        sent += stream
            .async_io(Interest::WRITABLE, || {
                send_once(stream.as_raw_fd(), &bytes[sent..], &fds)
            })
            .await?;
        fds.clear();
    }
    Ok(())
}

fn send_once(socket: RawFd, bytes: &[u8], fds: &[RawFd]) -> io::Result<usize> {
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

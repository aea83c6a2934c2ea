//! Bytes and descriptors out to QEMU.

use std::{
    io,
    os::fd::{AsRawFd, OwnedFd, RawFd},
};

use tokio::{io::Interest, net::unix::OwnedWriteHalf};

use crate::fd_passing::send_once;

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

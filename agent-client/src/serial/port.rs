//! A guest's virtio port as an asynchronous byte stream that waits for its host.

use std::{
    io,
    os::fd::{AsFd, OwnedFd},
    pin::Pin,
    task::{Context, Poll, ready},
};

use nix::{errno::Errno, unistd};
use system::readiness::{Direction, EdgeWatch};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

/// The driver has received data in buffers of one page, and returns one buffer for each read.
const PIECE: usize = 4096;

/// A character device such as `/dev/vport1p1`. Reading and writing is pending while no host is
/// connected.
///
/// Without a host the kernel's virtio_console driver answers a read with 0 bytes (other
/// character devices with `EIO`), fails a write with `EAGAIN` or `EPIPE`, and reports
/// `POLLHUP`. An event loop would report that again and again. So an [`EdgeWatch`] for each
/// direction watches the device.
#[derive(Debug)]
pub struct Port {
    device: OwnedFd,
    reads: EdgeWatch,
    writes: EdgeWatch,
}

impl Port {
    /// Watches an open device, which must have been opened with `O_NONBLOCK`.
    ///
    /// # Errors
    ///
    /// When epoll(7) cannot watch the device: `EPERM` for a regular file.
    ///
    /// # Panics
    ///
    /// Outside of a tokio runtime with input and output enabled.
    pub fn new(device: OwnedFd) -> io::Result<Self> {
        Ok(Self {
            reads: EdgeWatch::new(&device, Direction::Read)?,
            writes: EdgeWatch::new(&device, Direction::Write)?,
            device,
        })
    }
}

/// Repeats `attempt` until it transfers data, and waits for a change of the device in between.
///
/// The event is consumed *before* the attempt, so a change during the attempt is not lost.
fn poll_attempt(
    watch: &EdgeWatch,
    cx: &mut Context<'_>,
    mut attempt: impl FnMut() -> Result<usize, Errno>,
) -> Poll<io::Result<usize>> {
    loop {
        match attempt() {
            Ok(0) | Err(Errno::EAGAIN | Errno::EIO | Errno::EPIPE) => {}
            Ok(n) => return Poll::Ready(Ok(n)),
            Err(Errno::EINTR) => continue,
            Err(errno) => return Poll::Ready(Err(errno.into())),
        }
        ready!(watch.poll_changed(cx))?;
    }
}

impl AsyncRead for Port {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        if buf.remaining() == 0 {
            return Poll::Ready(Ok(()));
        }
        let room = buf.initialize_unfilled();
        let attempt = || unistd::read(self.device.as_fd(), room);
        let mut read = ready!(poll_attempt(&self.reads, cx, attempt))?;
        buf.advance(read);
        // A full piece is rarely the last one. An error here occurs again at the next read.
        while read >= PIECE && buf.remaining() >= PIECE {
            read = unistd::read(self.device.as_fd(), buf.initialize_unfilled()).unwrap_or(0);
            buf.advance(read);
        }
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Port {
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        if buf.is_empty() {
            return Poll::Ready(Ok(0));
        }
        poll_attempt(&self.writes, cx, || unistd::write(self.device.as_fd(), buf))
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }
}

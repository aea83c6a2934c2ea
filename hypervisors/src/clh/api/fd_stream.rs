//! A connection whose first bytes take a descriptor along.

use std::{
    io,
    os::fd::{AsRawFd, OwnedFd},
    pin::Pin,
    task::{Context, Poll, ready},
};

use hyper::rt::{Read, ReadBufCursor, Write};
use hyper_util::rt::TokioIo;
use tokio::{io::Interest, net::UnixStream};

use crate::fd_passing::send_once;

/// A stream to the VMM. It looks for descriptors beside the first bytes of a request.
#[derive(Debug)]
pub struct FdStream {
    stream: TokioIo<UnixStream>,
    passed: Option<OwnedFd>,
}

impl FdStream {
    /// `passed` goes out with the first byte that is written, and is closed here then.
    pub fn new(stream: UnixStream, passed: Option<OwnedFd>) -> Self {
        Self {
            stream: TokioIo::new(stream),
            passed,
        }
    }
}

impl Read for FdStream {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: ReadBufCursor<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_read(cx, buf)
    }
}

impl Write for FdStream {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let Some(fd) = &self.passed else {
            return Pin::new(&mut self.stream).poll_write(cx, bytes);
        };
        let stream = self.stream.inner();
        loop {
            ready!(stream.poll_write_ready(cx))?;
            let sent = stream.try_io(Interest::WRITABLE, || {
                send_once(stream.as_raw_fd(), bytes, &[fd.as_raw_fd()])
            });
            match sent {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                Err(error) => return Poll::Ready(Err(error)),
                Ok(sent) => {
                    self.passed = None;
                    return Poll::Ready(Ok(sent));
                }
            }
        }
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}

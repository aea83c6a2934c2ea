//! Descriptors that a tokio task waits for.
//!
//! `unsafe`: tokio's constructor relies on its caller to keep the descriptor open.
#![allow(unsafe_code)]

use std::{
    io,
    os::fd::{AsFd, OwnedFd},
    task::{Context, Poll, ready},
};

use rustix::event::{Timespec, epoll};
use tokio::io::{Interest, unix::AsyncFd};

/// Lets the runtime watch a descriptor, which must be non-blocking.
///
/// # Errors
/// It is of a kind that cannot be watched, as a regular file.
///
/// # Panics
/// Outside of a tokio runtime with input and output enabled.
pub fn register(descriptor: OwnedFd, interest: Interest) -> io::Result<AsyncFd<OwnedFd>> {
    // SAFETY: an OwnedFd keeps the same open descriptor until it is dropped, and it is dropped
    // after its registration, by AsyncFd.
    unsafe { AsyncFd::register_with_interest(descriptor, interest) }.map_err(Into::into)
}

/// The direction in which bytes are transferred.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Direction {
    /// From the device to this process.
    Read,
    /// From this process to the device.
    Write,
}

/// Reports each change of a device once: an edge-triggered epoll instance, which the runtime
/// watches. For devices that stay ready for long and would keep an ordinary event loop busy.
#[derive(Debug)]
pub struct EdgeWatch(AsyncFd<OwnedFd>);

impl EdgeWatch {
    /// Watches one direction of a device for as long as both live.
    ///
    /// # Errors
    /// As [`register`].
    ///
    /// # Panics
    /// As [`register`].
    pub fn new(device: impl AsFd, direction: Direction) -> io::Result<Self> {
        let flags = match direction {
            Direction::Read => epoll::EventFlags::IN,
            Direction::Write => epoll::EventFlags::OUT,
        };
        let instance = epoll::create(epoll::CreateFlags::CLOEXEC)?;
        let data = epoll::EventData::new_u64(0);
        epoll::add(&instance, device, data, flags | epoll::EventFlags::ET)?;
        Ok(Self(register(instance, Interest::READABLE)?))
    }

    /// Ready if the device has changed since the last call. The first call is ready too if the
    /// device was ready before.
    ///
    /// # Errors
    /// The runtime is being shut down.
    pub fn poll_changed(&self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let mut guard = ready!(self.0.poll_read_ready(cx))?;
        // Taken, so that only a later change makes the instance readable.
        let mut events: [epoll::Event; 1] = [epoll::Event {
            flags: epoll::EventFlags::empty(),
            data: epoll::EventData::new_u64(0),
        }];
        match epoll::wait(guard.get_inner(), &mut events, Some(&Timespec::default())) {
            Ok(_) | Err(rustix::io::Errno::INTR) => {}
            Err(error) => return Poll::Ready(Err(error.into())),
        }
        guard.clear_ready();
        Poll::Ready(Ok(()))
    }
}

#[cfg(test)]
mod tests {
    use std::{future::poll_fn, io::Write, os::unix::net::UnixStream, time::Duration};

    use rustix::fs::{OFlags, fcntl_setfl};
    use tokio::time::timeout;

    use super::*;

    const LONG: Duration = Duration::from_secs(10);
    const SHORT: Duration = Duration::from_millis(20);

    #[tokio::test]
    async fn a_descriptor_is_readable_when_bytes_come() {
        let (mut writer, reader) = UnixStream::pair().unwrap();
        fcntl_setfl(&reader, OFlags::NONBLOCK).unwrap();
        let watched = register(reader.into(), Interest::READABLE).unwrap();
        assert!(timeout(SHORT, watched.readable()).await.is_err());
        writer.write_all(b"x").unwrap();
        drop(timeout(LONG, watched.readable()).await.unwrap().unwrap());
    }

    #[tokio::test]
    async fn a_regular_file_cannot_be_watched() {
        let file = || tempfile::tempfile().unwrap();
        assert!(register(file().into(), Interest::READABLE).is_err());
        assert!(EdgeWatch::new(file(), Direction::Read).is_err());
    }

    #[tokio::test]
    async fn a_change_is_reported_once_although_its_bytes_stay() {
        let (mut writer, reader) = UnixStream::pair().unwrap();
        let watch = EdgeWatch::new(&reader, Direction::Read).unwrap();
        let changed = || timeout(LONG, poll_fn(|cx| watch.poll_changed(cx)));
        let silent = || timeout(SHORT, poll_fn(|cx| watch.poll_changed(cx)));
        assert!(silent().await.is_err());
        for _ in 0..2 {
            writer.write_all(b"x").unwrap();
            changed().await.unwrap().unwrap();
            assert!(silent().await.is_err());
        }
        let room = EdgeWatch::new(&writer, Direction::Write).unwrap();
        let room = timeout(LONG, poll_fn(|cx| room.poll_changed(cx)));
        room.await.unwrap().unwrap();
    }
}

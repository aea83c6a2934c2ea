//! One end of a pipe or a terminal that the agent holds for a container's process.

use std::{
    io,
    os::fd::{AsFd, OwnedFd},
    sync::atomic::{AtomicUsize, Ordering},
    time::Duration,
};

use nix::{
    errno::Errno,
    fcntl::{FcntlArg, OFlag, fcntl},
    unistd::{pipe2, read, write},
};
use tokio::{
    io::{Interest, unix::AsyncFd},
    time::timeout,
};

use crate::{
    error::{Doing, Result},
    raw,
    reaper::{self, Exit},
};

/// What the agent lets a process write ahead of its reader. The kernel holds it, not the agent:
/// a process whose output nobody reads blocks in `write`.
const PIPE_CAPACITY: i32 = 1 << 20;
/// Most that one read returns: one answer must fit a message of 4 MiB.
const MAX_READ: usize = 1 << 20;
/// Smallest buffer to read into.
const MIN_READ: usize = 4 << 10;
/// How long output may still come after its process has ended: a child of it can hold the pipe.
const DRAIN: Duration = Duration::from_millis(500);

/// An open end that waits instead of blocking.
#[derive(Debug)]
pub struct Stream {
    end: AsyncFd<OwnedFd>,
    /// Size of the next buffer. Follows what was found, so that small output needs no large
    /// buffers and large output few reads.
    next_read: AtomicUsize,
}

/// A pipe: the end that is read, the end that is written. Both are closed on execution.
///
/// # Errors
///
/// When the process has too many files open.
pub fn pipe() -> Result<(OwnedFd, OwnedFd)> {
    let (reader, writer) = pipe2(OFlag::O_CLOEXEC).doing(|| "make a pipe".into())?;
    // Without privileges large pipes are rationed; a small one works as well.
    let _rationed = fcntl(&writer, FcntlArg::F_SETPIPE_SZ(PIPE_CAPACITY));
    Ok((reader, writer))
}

impl Stream {
    /// Takes over an end that is read or written, as `interest` says.
    ///
    /// # Errors
    ///
    /// When it cannot be waited for.
    pub fn new(end: OwnedFd, interest: Interest) -> Result<Self> {
        let doing = || "watch a process's input or output".into();
        let flags = OFlag::from_bits_retain(fcntl(&end, FcntlArg::F_GETFL).doing(doing)?);
        fcntl(&end, FcntlArg::F_SETFL(flags | OFlag::O_NONBLOCK)).doing(doing)?;
        Ok(Self {
            end: raw::watch(end, interest).doing(doing)?,
            next_read: AtomicUsize::new(32 << 10),
        })
    }

    /// The descriptor, for what only a terminal has.
    pub fn descriptor(&self) -> impl AsFd {
        self.end.get_ref().as_fd()
    }

    /// Waits for output, and returns at most `wanted` bytes of it; none at its end. After the
    /// process has ended, output that is slow to come is not waited for.
    ///
    /// # Errors
    ///
    /// When reading fails.
    pub async fn read(&self, wanted: usize, exit: &Exit) -> Result<Vec<u8>> {
        tokio::select! {
            biased;
            data = self.read_some(wanted) => data,
            _code = reaper::ended(exit) => {
                timeout(DRAIN, self.read_some(wanted)).await.unwrap_or_else(|_late| Ok(Vec::new()))
            }
        }
    }

    async fn read_some(&self, wanted: usize) -> Result<Vec<u8>> {
        let most = wanted.clamp(1, MAX_READ);
        let mut data = vec![0; self.next_read.load(Ordering::Relaxed).min(most)];
        loop {
            let mut ready = self
                .end
                .readable()
                .await
                .doing(|| "wait for output".into())?;
            let attempt = ready.try_io(|end| read(end.get_ref(), &mut data).map_err(Into::into));
            match attempt {
                Ok(Ok(length)) => {
                    self.adapt(length, data.len());
                    data.truncate(length);
                    return Ok(data);
                }
                // What a terminal says when its last user has closed it.
                Ok(Err(error)) if error.raw_os_error() == Some(Errno::EIO as i32) => {
                    return Ok(Vec::new());
                }
                Ok(Err(error)) if error.kind() == io::ErrorKind::Interrupted => {}
                Ok(Err(error)) => return Err(error).doing(|| "read output".into()),
                Err(_not_ready) => {}
            }
        }
    }

    fn adapt(&self, found: usize, room: usize) {
        let next = if found == room {
            room.saturating_mul(4)
        } else {
            found.saturating_mul(2)
        };
        self.next_read
            .store(next.clamp(MIN_READ, MAX_READ), Ordering::Relaxed);
    }

    /// Writes all of `data`, at the reader's pace.
    ///
    /// # Errors
    ///
    /// When nobody reads any more.
    pub async fn write_all(&self, mut data: &[u8]) -> Result<()> {
        while !data.is_empty() {
            let mut ready = self
                .end
                .writable()
                .await
                .doing(|| "wait to write input".into())?;
            match ready.try_io(|end| write(end.get_ref(), data).map_err(Into::into)) {
                Ok(Ok(length)) => data = &data[length..],
                Ok(Err(error)) if error.kind() == io::ErrorKind::Interrupted => {}
                Ok(Err(error)) => return Err(error).doing(|| "write input".into()),
                Err(_not_ready) => {}
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use tokio::sync::watch;

    use super::*;

    fn ends(reader: OwnedFd, writer: OwnedFd) -> (Stream, Stream) {
        let reader = Stream::new(reader, Interest::READABLE).unwrap();
        (reader, Stream::new(writer, Interest::WRITABLE).unwrap())
    }

    #[tokio::test]
    async fn a_pipe_is_read_to_its_end() {
        let (reader, writer) = pipe().unwrap();
        let (reader, writer) = ends(reader, writer);
        let (_running, exit) = watch::channel(None);
        let sent: Vec<u8> = (0..3_000_000_u32).map(|n| n.to_le_bytes()[1]).collect();
        let expected = sent.clone();
        let write = tokio::spawn(async move { writer.write_all(&sent).await });
        let mut received = Vec::new();
        loop {
            let data = reader.read(usize::MAX, &exit).await.unwrap();
            assert!(data.len() <= MAX_READ);
            if data.is_empty() {
                break;
            }
            received.extend(data);
        }
        write.await.unwrap().unwrap();
        assert_eq!(received, expected);
    }

    #[tokio::test]
    async fn output_of_a_process_that_ended_is_read_and_then_not_waited_for() {
        let (reader, writer) = pipe().unwrap();
        let (reader, writer) = ends(reader, writer);
        let (_ended, exit) = watch::channel(Some(0));
        writer.write_all(b"last words").await.unwrap();
        assert_eq!(reader.read(4, &exit).await.unwrap(), b"last");
        assert_eq!(reader.read(100, &exit).await.unwrap(), b" words");
        assert_eq!(reader.read(100, &exit).await.unwrap(), b"");
    }
}

//! The agent's end of a pipe or terminal of a container's process.

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
    reaper::{self, Exit},
    syscalls,
};

/// How many bytes a process can write ahead of its reader. They are in the kernel and not in the
/// agent: a process whose output is not read blocks in `write`.
const PIPE_CAPACITY: i32 = 1 << 20;
/// Most bytes that one read returns. An answer must be shorter than ttrpc's 4 MiB.
const MAX_READ: usize = 1 << 20;
/// Size of the smallest buffer to read into, in bytes.
const MIN_READ: usize = 4 << 10;
/// How long to wait for more output after the process has ended: its children can hold
/// the pipe open.
const DRAIN_TIMEOUT: Duration = Duration::from_millis(500);

/// An open end of a pipe or terminal.
#[derive(Debug)]
pub struct Stream {
    end: AsyncFd<OwnedFd>,
    /// Size of the next buffer, in bytes. Adapts to the output: small output needs no large
    /// buffers, and large output few reads.
    next_read: AtomicUsize,
}

/// Makes a pipe. Returns the end to read from and the end to write to, both closed on `exec`.
///
/// # Errors
///
/// When the process has too many files open.
pub fn pipe() -> Result<(OwnedFd, OwnedFd)> {
    let (reader, writer) = pipe2(OFlag::O_CLOEXEC).doing(|| "make a pipe".into())?;
    // The kernel limits large pipes of unprivileged users. A small one works, too.
    let _refused_by_limit = fcntl(&writer, FcntlArg::F_SETPIPE_SZ(PIPE_CAPACITY));
    Ok((reader, writer))
}

impl Stream {
    /// Takes over an end to be read or written, as `interest` says.
    ///
    /// # Errors
    ///
    /// When epoll(7) cannot watch it.
    pub fn new(end: OwnedFd, interest: Interest) -> Result<Self> {
        let doing = || "watch a process's input or output".into();
        let flags = OFlag::from_bits_retain(fcntl(&end, FcntlArg::F_GETFL).doing(doing)?);
        fcntl(&end, FcntlArg::F_SETFL(flags | OFlag::O_NONBLOCK)).doing(doing)?;
        Ok(Self {
            end: syscalls::watch(end, interest).doing(doing)?,
            next_read: AtomicUsize::new(32 << 10),
        })
    }

    /// The open end, for requests to a terminal.
    pub fn descriptor(&self) -> impl AsFd {
        self.end.get_ref().as_fd()
    }

    /// Waits for output, and returns at most `wanted` bytes; none at the end. When the process has
    /// ended, waits 500 ms at most.
    ///
    /// # Errors
    ///
    /// When reading fails.
    pub async fn read(&self, wanted: usize, exit: &Exit) -> Result<Vec<u8>> {
        tokio::select! {
            biased;
            data = self.read_some(wanted) => data,
            _code = reaper::ended(exit) => {
                let rest = timeout(DRAIN_TIMEOUT, self.read_some(wanted)).await;
                rest.unwrap_or_else(|_elapsed| Ok(Vec::new()))
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
                // What reading from a terminal returns when no process has it open any more.
                Ok(Err(error)) if error.raw_os_error() == Some(Errno::EIO as i32) => {
                    return Ok(Vec::new());
                }
                Ok(Err(error)) if error.kind() == io::ErrorKind::Interrupted => {}
                Ok(Err(error)) => return Err(error).doing(|| "read output".into()),
                Err(_not_ready) => {}
            }
        }
    }

    /// Chooses the size of the next buffer after `found` bytes were read into one of `room` bytes.
    fn adapt(&self, found: usize, room: usize) {
        let next = if found == room {
            room.saturating_mul(4)
        } else {
            found.saturating_mul(2)
        };
        self.next_read
            .store(next.clamp(MIN_READ, MAX_READ), Ordering::Relaxed);
    }

    /// Writes all of `data`; waits while the reader does not read.
    ///
    /// # Errors
    ///
    /// When the reader has closed its end.
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
    async fn output_of_an_ended_process_is_read_without_waiting_for_more() {
        let (reader, writer) = pipe().unwrap();
        let (reader, writer) = ends(reader, writer);
        let (_ended, exit) = watch::channel(Some(0));
        writer.write_all(b"last words").await.unwrap();
        assert_eq!(reader.read(4, &exit).await.unwrap(), b"last");
        assert_eq!(reader.read(100, &exit).await.unwrap(), b" words");
        assert_eq!(reader.read(100, &exit).await.unwrap(), b"");
    }
}

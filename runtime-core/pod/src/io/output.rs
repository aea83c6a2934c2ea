//! Standard output and error: from the guest into fifos or files.
//!
//! Each stream is one loop that asks the guest for up to [`READ_BYTES`] while it writes the
//! previous answer, so it holds at most two answers. A sink that is not read stops the loop and
//! thereby the process: nothing is dropped while a reader may still come.

use std::{
    fs::OpenOptions,
    io,
    os::unix::fs::OpenOptionsExt,
    path::{Path, PathBuf},
    sync::Arc,
};

use agent_client::{Agent, agent::ReadStreamRequest};
use slog::{Logger, debug, warn};
use system::error::chain;
use tokio::{io::AsyncWriteExt, net::unix::pipe, sync::watch, task::JoinSet};

use super::{
    GuestProcess,
    stdio::{Sink, Stdio},
};

/// The most bytes of one answer of the agent.
pub const READ_BYTES: u32 = 512 * 1024;

/// The open sinks of a process.
#[derive(Debug, Default)]
pub struct Outputs {
    stdout: Writer,
    stderr: Option<Writer>,
}

#[derive(Debug, Default)]
enum Writer {
    #[default]
    Discard,
    Fifo(pipe::Sender),
    File(tokio::fs::File),
}

/// The running loops of a process's output.
#[derive(Debug)]
pub(crate) struct Draining {
    loops: JoinSet<()>,
    moved: watch::Receiver<u64>,
}

#[derive(Debug, Clone, Copy)]
enum Stream {
    Stdout,
    Stderr,
}

impl Outputs {
    /// Opens the sinks. A fifo is opened for both directions, so a missing reader neither blocks
    /// opening nor breaks the pipe.
    ///
    /// # Errors
    /// One cannot be opened, or is of another type; with its path.
    pub fn open(stdio: &Stdio) -> Result<Self, (PathBuf, io::Error)> {
        Ok(Self {
            stdout: Writer::open(stdio.stdout.as_ref())?,
            stderr: if stdio.terminal {
                None
            } else {
                Some(Writer::open(stdio.stderr.as_ref())?)
            },
        })
    }

    /// Starts moving bytes. The sinks are closed as their streams end.
    pub(crate) fn drain(self, agent: &Agent, process: &GuestProcess, log: &Logger) -> Draining {
        let (moved, receiver) = watch::channel(0);
        let moved = Arc::new(moved);
        let mut loops = JoinSet::new();
        let streams = [
            (Stream::Stdout, Some(self.stdout)),
            (Stream::Stderr, self.stderr),
        ];
        for (stream, writer) in streams {
            if let Some(writer) = writer {
                let reader = Reader {
                    agent: agent.clone(),
                    process: process.clone(),
                    stream,
                };
                loops.spawn(pump(reader, writer, moved.clone(), log.clone()));
            }
        }
        Draining {
            loops,
            moved: receiver,
        }
    }
}

impl Draining {
    /// Waits for the end of every stream. Cancel-safe.
    pub(crate) async fn ended(&mut self) {
        while self.loops.join_next().await.is_some() {}
    }

    /// Number of bytes that were written so far, to see whether the streams hang.
    pub(crate) fn moved(&self) -> watch::Receiver<u64> {
        self.moved.clone()
    }
}

impl Writer {
    fn open(sink: Option<&Sink>) -> Result<Self, (PathBuf, io::Error)> {
        match sink {
            None => Ok(Self::Discard),
            Some(Sink::Fifo(path)) => pipe::OpenOptions::new()
                .read_write(true)
                .open_sender(path)
                .map(Self::Fifo)
                .map_err(|source| (path.clone(), source)),
            Some(Sink::File(path)) => append(path)
                .map(|file| Self::File(tokio::fs::File::from_std(file)))
                .map_err(|source| (path.clone(), source)),
        }
    }

    async fn write(&mut self, data: &[u8]) -> io::Result<()> {
        match self {
            Self::Discard => Ok(()),
            Self::Fifo(fifo) => fifo.write_all(data).await,
            Self::File(file) => {
                file.write_all(data).await?;
                file.flush().await
            }
        }
    }
}

/// Opens a regular file for appending. Other files could block the writer.
fn append(path: &Path) -> io::Result<std::fs::File> {
    let file = OpenOptions::new()
        .append(true)
        .create(true)
        .mode(0o640)
        // Otherwise opening a fifo would wait for its reader.
        .custom_flags(nix::libc::O_NONBLOCK | nix::libc::O_NOCTTY)
        .open(path)?;
    if file.metadata()?.is_file() {
        Ok(file)
    } else {
        let reason = "it is not a regular file";
        Err(io::Error::new(io::ErrorKind::InvalidInput, reason))
    }
}

struct Reader {
    agent: Agent,
    process: GuestProcess,
    stream: Stream,
}

impl Reader {
    /// The next bytes; empty at the end of the stream.
    async fn next(&self) -> Result<Vec<u8>, agent_client::Error> {
        let request = ReadStreamRequest {
            container_id: self.process.container.clone(),
            exec_id: self.process.exec.clone(),
            len: READ_BYTES,
            ..Default::default()
        };
        match self.stream {
            Stream::Stdout => self.agent.read_stdout(request).await,
            Stream::Stderr => self.agent.read_stderr(request).await,
        }
    }
}

async fn pump(reader: Reader, mut writer: Writer, moved: Arc<watch::Sender<u64>>, log: Logger) {
    let mut arrived = reader.next().await;
    loop {
        let data = match arrived {
            Ok(data) if data.is_empty() => return,
            Ok(data) => data,
            Err(error) => {
                debug!(log, "output not read";
                    "stream" => ?reader.stream, "process" => %reader.process,
                    "error" => chain(&error));
                return;
            }
        };
        let (next, written) = tokio::join!(reader.next(), writer.write(&data));
        if let Err(error) = written {
            // The process must not hang on a full disk: reading goes on without writing.
            warn!(log, "output not written any more";
                "stream" => ?reader.stream, "process" => %reader.process, "error" => %error);
            writer = Writer::Discard;
        }
        moved.send_modify(|total| *total += data.len() as u64);
        arrived = next;
    }
}

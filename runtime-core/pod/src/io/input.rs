//! Standard input: from a fifo into the guest.
//!
//! The fifo is opened for reading and for writing. As long as the writing end is open, a client
//! that detaches does not end the process's input. `CloseIO` closes it, and the input ends when the
//! last client is gone and everything that it wrote was passed on.

use std::{
    io,
    path::{Path, PathBuf},
};

use agent_client::{
    Agent,
    agent::{CloseStdinRequest, WriteStreamRequest},
};
use slog::{Logger, debug};
use system::error::chain;
use tokio::net::unix::pipe;

use super::GuestProcess;

/// Number of bytes in one call to the agent.
const WRITE_BYTES: usize = 64 * 1024;

/// The reading end of a process's input.
#[derive(Debug)]
pub struct Input(Source);

#[derive(Debug)]
enum Source {
    /// No input: the process reads end-of-file.
    Closed,
    Fifo(pipe::Receiver),
}

/// Keeps a process's input open while no client has it open.
#[derive(Debug)]
pub struct InputHold {
    _writer: pipe::Sender,
}

impl Input {
    /// Opens the fifo, if there is one, without waiting for a writer.
    ///
    /// # Errors
    /// It cannot be opened, or is not a fifo; with its path.
    pub fn open(stdin: Option<&Path>) -> Result<(Self, Option<InputHold>), (PathBuf, io::Error)> {
        let Some(path) = stdin else {
            return Ok((Self(Source::Closed), None));
        };
        let open = || {
            let options = pipe::OpenOptions::new();
            Ok((options.open_receiver(path)?, options.open_sender(path)?))
        };
        let (receiver, writer) = open().map_err(|source| (path.to_owned(), source))?;
        Ok((
            Self(Source::Fifo(receiver)),
            Some(InputHold { _writer: writer }),
        ))
    }

    /// Passes bytes on until the input or the process ends, then closes the process's input.
    pub(crate) async fn feed(
        self,
        agent: Agent,
        process: GuestProcess,
        terminal: bool,
        log: Logger,
    ) {
        let result = match self.0 {
            Source::Closed => Ok(()),
            Source::Fifo(fifo) => copy(&fifo, &agent, &process).await,
        };
        // A terminal's input ends by a key, not by closing it.
        let result = match result {
            Ok(()) if !terminal => agent
                .close_stdin(closing(&process))
                .await
                .map_err(Into::into),
            other => other,
        };
        if let Err(error) = result {
            debug!(log, "input not passed on"; "process" => %process, "error" => chain(&error));
        }
    }
}

#[derive(Debug, thiserror::Error)]
enum FeedError {
    #[error("Reading the fifo failed")]
    Fifo(#[from] io::Error),
    #[error(transparent)]
    Agent(#[from] agent_client::Error),
}

async fn copy(
    fifo: &pipe::Receiver,
    agent: &Agent,
    process: &GuestProcess,
) -> Result<(), FeedError> {
    let mut buffer = Vec::new();
    loop {
        // A read without an event would take "no writer yet" for the end.
        fifo.readable().await?;
        buffer.resize(WRITE_BYTES, 0);
        let read = match fifo.try_read(&mut buffer) {
            Ok(0) => return Ok(()),
            Ok(read) => read,
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => continue,
            Err(error) => return Err(error.into()),
        };
        buffer.truncate(read);
        pass_on(&buffer, agent, process).await?;
        // Frees the buffer while the process is idle.
        buffer = Vec::new();
    }
}

async fn pass_on(mut data: &[u8], agent: &Agent, process: &GuestProcess) -> Result<(), FeedError> {
    while !data.is_empty() {
        let request = WriteStreamRequest {
            container_id: process.container.clone(),
            exec_id: process.exec.clone(),
            data: data.to_vec(),
            ..Default::default()
        };
        let taken = agent.write_stdin(request).await? as usize;
        if taken == 0 {
            return Err(io::Error::from(io::ErrorKind::WriteZero).into());
        }
        data = data.get(taken..).unwrap_or_default();
    }
    Ok(())
}

fn closing(process: &GuestProcess) -> CloseStdinRequest {
    CloseStdinRequest {
        container_id: process.container.clone(),
        exec_id: process.exec.clone(),
        ..Default::default()
    }
}

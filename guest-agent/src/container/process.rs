//! A process of a container: its end, its input and output.

use std::{
    os::fd::{AsFd, OwnedFd},
    path::PathBuf,
    sync::Arc,
};

use agent_client::oci;
use nix::unistd::{Uid, fchown};
use system::sync::Mutex;
use tokio::io::Interest;

use super::{
    stream::{Stream, pipe},
    terminal::{Terminal, resize},
};
use crate::{
    error::{Doing, Error, Result},
    reaper::{self, Exit},
    zygote::{Child, Request, Zygote},
};

/// Which output of a process.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Output {
    Standard,
    Error,
}

/// A process that was made; it may have ended since.
#[derive(Debug)]
pub struct Process {
    pid: i32,
    exit: Exit,
    terminal: bool,
    /// None once it was closed.
    input: Mutex<Option<Arc<Stream>>>,
    /// The terminal, if there is one.
    output: Arc<Stream>,
    /// A terminal has one stream for both.
    errors: Option<Arc<Stream>>,
}

/// How a process is to be connected.
enum Connection {
    Pipes { ours: [Stream; 3] },
    Terminal(Terminal),
}

impl Process {
    /// Has `zygote` make a process, connected to a terminal or to pipes as `wanted` says, which belong
    /// to the user `owner`.
    ///
    /// `request` is given the path of the console socket, if there is one; `console` is where that
    /// socket may be made.
    ///
    /// # Errors
    ///
    /// When there is no process: nothing is left behind but what the runtime left.
    pub async fn make(
        zygote: &Zygote,
        wanted: &oci::Process,
        owner: Uid,
        console: PathBuf,
        request: impl FnOnce(Option<PathBuf>) -> Request,
    ) -> Result<Self> {
        let (connection, theirs) = connect(wanted, owner, console)?;
        match connection {
            Connection::Pipes {
                ours: [input, output, errors],
            } => {
                let child = zygote.make(request(None), theirs).await?;
                Ok(Self::new(child, input, output, Some(errors)))
            }
            Connection::Terminal(terminal) => {
                let request = request(Some(terminal.path().to_owned()));
                let (child, master) = terminal.meet(zygote.make(request, theirs)).await;
                let child = child?;
                match master.and_then(both_ways) {
                    Ok((input, output)) => Ok(Self::new(child, input, output, None)),
                    Err(error) => {
                        zygote.end(&child)?;
                        Err(error)
                    }
                }
            }
        }
    }

    fn new(child: Child, input: Stream, output: Stream, errors: Option<Stream>) -> Self {
        Self {
            pid: child.pid,
            exit: child.exit,
            terminal: errors.is_none(),
            input: Mutex::new(Some(Arc::new(input))),
            output: Arc::new(output),
            errors: errors.map(Arc::new),
        }
    }

    /// Its number, as the agent sees it.
    pub fn pid(&self) -> i32 {
        self.pid
    }

    /// Tells of its end.
    pub fn exit(&self) -> &Exit {
        &self.exit
    }

    /// Its exit code, or 128 plus the signal that ended it, if it has ended.
    pub fn exit_code(&self) -> Option<i32> {
        *self.exit.borrow()
    }

    /// Waits for its end. Any number of callers get the same answer.
    pub async fn wait(&self) -> i32 {
        reaper::ended(&self.exit).await
    }

    /// Waits for output; nothing at its end, and at once for the error output of a terminal.
    ///
    /// # Errors
    ///
    /// When reading fails.
    pub async fn read(&self, output: Output, wanted: usize) -> Result<Vec<u8>> {
        match (output, &self.errors) {
            (Output::Standard, _) => self.output.read(wanted, &self.exit).await,
            (Output::Error, Some(errors)) => errors.read(wanted, &self.exit).await,
            (Output::Error, None) => Ok(Vec::new()),
        }
    }

    /// Writes all of `data` to its input.
    ///
    /// # Errors
    ///
    /// When the input was closed, by the caller or by the process.
    pub async fn write(&self, data: &[u8]) -> Result<()> {
        let input = self.input.lock().clone();
        match input {
            Some(input) => input.write_all(data).await,
            None => Err(Error::State("the input is closed".into())),
        }
    }

    /// Lets it see the end of its input. A terminal stays open: it has no half to close.
    pub fn close_input(&self) {
        if !self.terminal {
            *self.input.lock() = None;
        }
    }

    /// Sets its terminal's size.
    ///
    /// # Errors
    ///
    /// When it has none.
    pub fn resize(&self, rows: u32, columns: u32) -> Result<()> {
        if !self.terminal {
            return Err(Error::State("the process has no terminal".into()));
        }
        resize(self.output.descriptor().as_fd(), rows, columns)
    }
}

/// Prepares both sides of a connection: the agent's, and the descriptors for the process.
fn connect(
    wanted: &oci::Process,
    owner: Uid,
    console: PathBuf,
) -> Result<(Connection, Vec<OwnedFd>)> {
    if wanted.Terminal {
        let (terminal, gate) = Terminal::expect(console, owner, wanted.ConsoleSize.as_ref())?;
        return Ok((Connection::Terminal(terminal), vec![gate]));
    }
    let (their_input, input) = pipe()?;
    let (output, their_output) = pipe()?;
    let (errors, their_errors) = pipe()?;
    let theirs = vec![their_input, their_output, their_errors];
    // A program opens /dev/stdout as its user. The group stays, as with runc.
    for end in theirs.iter().filter(|_| !owner.is_root()) {
        fchown(end, Some(owner), None)
            .doing(|| format!("give a standard stream to the user {owner}"))?;
    }
    let connection = Connection::Pipes {
        ours: [
            Stream::new(input, Interest::WRITABLE)?,
            Stream::new(output, Interest::READABLE)?,
            Stream::new(errors, Interest::READABLE)?,
        ],
    };
    Ok((connection, theirs))
}

/// A terminal's input and output.
fn both_ways(master: OwnedFd) -> Result<(Stream, Stream)> {
    let input = master.try_clone().doing(|| "share the terminal".into())?;
    Ok((
        Stream::new(input, Interest::WRITABLE)?,
        Stream::new(master, Interest::READABLE)?,
    ))
}

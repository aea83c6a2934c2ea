//! A process of a container: its exit, its input and output.

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

/// A process that was made. It may have ended since.
#[derive(Debug)]
pub struct Process {
    pid: i32,
    exit: Exit,
    has_terminal: bool,
    /// `None` when it was closed.
    input: Mutex<Option<Arc<Stream>>>,
    /// The output of the terminal, if there is one.
    output: Arc<Stream>,
    /// `None` with a terminal: it has one output for both.
    errors: Option<Arc<Stream>>,
}

/// The agent's side of a new process's input and output.
enum Connection {
    /// Standard input, output and error.
    Pipes([Stream; 3]),
    Terminal(Terminal),
}

impl Process {
    /// Makes `zygote` create a process, connected to pipes or, if `wanted` says so, to a terminal.
    /// They belong to the user `owner`.
    ///
    /// `request` makes the zygote's request from the path of the console socket, or from `None`
    /// without a terminal. `console` is the path for that socket.
    ///
    /// # Errors
    ///
    /// When no process was created. The agent then leaves nothing behind; libcontainer may.
    pub async fn make(
        zygote: &Zygote,
        wanted: &oci::Process,
        owner: Uid,
        console: PathBuf,
        request: impl FnOnce(Option<PathBuf>) -> Request,
    ) -> Result<Self> {
        let (connection, theirs) = connect(wanted, owner, console)?;
        match connection {
            Connection::Pipes([input, output, errors]) => {
                let child = zygote.make(request(None), theirs).await?;
                Ok(Self::new(child, input, output, Some(errors)))
            }
            Connection::Terminal(terminal) => {
                let request = request(Some(terminal.path().to_owned()));
                let (child, master) = terminal.receive_during(zygote.make(request, theirs)).await;
                let child = child?;
                match master.and_then(split) {
                    Ok((input, output)) => Ok(Self::new(child, input, output, None)),
                    Err(error) => {
                        zygote.kill(&child)?;
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
            has_terminal: errors.is_none(),
            input: Mutex::new(Some(Arc::new(input))),
            output: Arc::new(output),
            errors: errors.map(Arc::new),
        }
    }

    /// The pid in the agent's pid namespace.
    pub fn pid(&self) -> i32 {
        self.pid
    }

    /// The exit code, when the process has ended.
    pub fn exit(&self) -> &Exit {
        &self.exit
    }

    /// The exit code, or 128 plus the signal that ended the process; `None` while it runs.
    pub fn exit_code(&self) -> Option<i32> {
        *self.exit.borrow()
    }

    /// Waits for the end of the process, and returns its exit code. Any number of callers may wait.
    pub async fn wait(&self) -> i32 {
        reaper::ended(&self.exit).await
    }

    /// Waits for output, and returns at most `wanted` bytes. Empty at the end of the output, and
    /// always for the error output of a process with a terminal.
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

    /// Writes all of `data` to the input.
    ///
    /// # Errors
    ///
    /// When the input was closed, by the caller or by the process.
    pub async fn write(&self, data: &[u8]) -> Result<()> {
        let input = self.input.lock().clone();
        match input {
            Some(input) => input.write_all(data).await,
            None => Err(Error::State("The input is closed".into())),
        }
    }

    /// Ends the input. Has no effect on a terminal, whose input cannot be closed alone.
    pub fn close_input(&self) {
        if !self.has_terminal {
            *self.input.lock() = None;
        }
    }

    /// Sets the size of the terminal.
    ///
    /// # Errors
    ///
    /// When the process has no terminal, or a side is more than 65535 characters long.
    pub fn resize(&self, rows: u32, columns: u32) -> Result<()> {
        if !self.has_terminal {
            return Err(Error::State("The process has no terminal".into()));
        }
        resize(self.output.descriptor().as_fd(), rows, columns)
    }
}

/// Makes both sides of a connection: the agent's, and the descriptors for the process.
fn connect(
    wanted: &oci::Process,
    owner: Uid,
    console: PathBuf,
) -> Result<(Connection, Vec<OwnedFd>)> {
    if wanted.Terminal {
        let (terminal, ready) = Terminal::listen(console, owner, wanted.ConsoleSize.as_ref())?;
        return Ok((Connection::Terminal(terminal), vec![ready]));
    }
    let (their_input, input) = pipe()?;
    let (output, their_output) = pipe()?;
    let (errors, their_errors) = pipe()?;
    let theirs = vec![their_input, their_output, their_errors];
    // A program may open /dev/stdout as its user. The group is unchanged, as with runc.
    for end in theirs.iter().filter(|_| !owner.is_root()) {
        fchown(end, Some(owner), None)
            .doing(|| format!("give a standard stream to the user {owner}"))?;
    }
    let connection = Connection::Pipes([
        Stream::new(input, Interest::WRITABLE)?,
        Stream::new(output, Interest::READABLE)?,
        Stream::new(errors, Interest::READABLE)?,
    ]);
    Ok((connection, theirs))
}

/// The input and the output of a terminal.
fn split(master: OwnedFd) -> Result<(Stream, Stream)> {
    let input = master
        .try_clone()
        .doing(|| "duplicate the terminal".into())?;
    Ok((
        Stream::new(input, Interest::WRITABLE)?,
        Stream::new(master, Interest::READABLE)?,
    ))
}

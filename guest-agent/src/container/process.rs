//! A process of a container: its end, its input and output.

use std::{
    os::{
        fd::{AsFd, OwnedFd},
        unix::net::UnixListener,
    },
    path::PathBuf,
    sync::{Arc, Mutex, PoisonError},
};

use agent_client::oci;
use tokio::io::Interest;

use super::stream::{Stream, pipe};
use crate::{
    error::{Doing, Error, Result},
    raw,
    reaper::{self, Exit},
    zygote::{self, Child, Request, Zygote},
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
    Pipes {
        ours: [OwnedFd; 3],
    },
    Terminal {
        listener: UnixListener,
        path: PathBuf,
    },
}

impl Process {
    /// Has `zygote` make a process, connected to a terminal or to pipes as `wanted` says.
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
        console: PathBuf,
        request: impl FnOnce(Option<PathBuf>) -> Request,
    ) -> Result<Self> {
        let (connection, theirs) = connect(wanted.Terminal, console)?;
        let request = request(match &connection {
            Connection::Terminal { path, .. } => Some(path.clone()),
            Connection::Pipes { .. } => None,
        });
        let child = zygote.make(request, theirs).await;
        match connection {
            Connection::Pipes {
                ours: [input, output, errors],
            } => {
                let child = child?;
                Self::new(child, input, output, Some(errors))
            }
            Connection::Terminal { listener, path } => {
                let master = child
                    .as_ref()
                    .ok()
                    .map(|_| zygote::receive_terminal(&listener, &path));
                let _already_gone = std::fs::remove_file(&path);
                let child = child?;
                let Some(master) = master.transpose()? else {
                    return Err(Error::State("the process has sent no terminal".into()));
                };
                if let Some(size) = wanted.ConsoleSize.as_ref() {
                    resize(master.as_fd(), size.Height, size.Width)?;
                }
                let input = master.try_clone().doing(|| "share the terminal".into())?;
                Self::new(child, input, master, None)
            }
        }
    }

    fn new(child: Child, input: OwnedFd, output: OwnedFd, errors: Option<OwnedFd>) -> Result<Self> {
        Ok(Self {
            pid: child.pid,
            exit: child.exit,
            terminal: errors.is_none(),
            input: Mutex::new(Some(Arc::new(Stream::new(input, Interest::WRITABLE)?))),
            output: Arc::new(Stream::new(output, Interest::READABLE)?),
            errors: errors
                .map(|end| Stream::new(end, Interest::READABLE))
                .transpose()?
                .map(Arc::new),
        })
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
        let input = self
            .input
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone();
        match input {
            Some(input) => input.write_all(data).await,
            None => Err(Error::State("the input is closed".into())),
        }
    }

    /// Lets it see the end of its input. A terminal stays open: it has no half to close.
    pub fn close_input(&self) {
        if !self.terminal {
            *self.input.lock().unwrap_or_else(PoisonError::into_inner) = None;
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

fn resize(master: std::os::fd::BorrowedFd<'_>, rows: u32, columns: u32) -> Result<()> {
    let side = |cells: u32| {
        u16::try_from(cells).map_err(|_| Error::Invalid(format!("no terminal has {cells} cells")))
    };
    raw::set_window_size(master, side(rows)?, side(columns)?).doing(|| "resize a terminal".into())
}

/// Prepares both sides of a connection: the agent's, and the descriptors for the process.
fn connect(terminal: bool, console: PathBuf) -> Result<(Connection, Vec<OwnedFd>)> {
    if terminal {
        let listener = UnixListener::bind(&console).on("listen on", &console)?;
        let connection = Connection::Terminal {
            listener,
            path: console,
        };
        return Ok((connection, Vec::new()));
    }
    let (their_input, input) = pipe()?;
    let (output, their_output) = pipe()?;
    let (errors, their_errors) = pipe()?;
    let connection = Connection::Pipes {
        ours: [input, output, errors],
    };
    Ok((connection, vec![their_input, their_output, their_errors]))
}

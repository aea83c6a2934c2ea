//! The terminal of a process that is being made.
//!
//! libcontainer makes it and sends its master through a socket. The agent sets its size and owner
//! before the process may execute its program.

use std::{
    future::{Future, pending},
    io,
    os::{
        fd::{AsFd, BorrowedFd, OwnedFd},
        unix::net::UnixListener,
    },
    path::{Path, PathBuf},
};

use agent_client::oci;
use nix::{
    errno::Errno,
    unistd::{Uid, fchown},
};
use tokio::io::{Interest, unix::AsyncFd};

use super::stream::pipe;
use crate::{
    error::{Doing, Error, Result},
    syscalls,
};

/// A socket that waits for a terminal, and what the terminal is to become.
pub struct Terminal {
    /// Path of the socket, which is removed in the end.
    path: PathBuf,
    owner: Uid,
    /// The terminal's rows and columns, if they were requested.
    size: Option<(u32, u32)>,
    listener: AsyncFd<OwnedFd>,
    /// The connection from which no terminal has been received yet.
    connection: Option<AsyncFd<OwnedFd>>,
    /// The master that was received last.
    master: Option<OwnedFd>,
    /// A pipe that the process reads from before it executes its program. It is closed when the
    /// terminal is ready.
    not_ready: Option<OwnedFd>,
}

impl Terminal {
    /// Makes the socket, at `path`. The second value is the end of a pipe for the new process: it
    /// reads the end of the file when the terminal is ready.
    ///
    /// # Errors
    ///
    /// When the socket cannot be made.
    pub fn listen(path: PathBuf, owner: Uid, size: Option<&oci::Box>) -> Result<(Self, OwnedFd)> {
        let listener = UnixListener::bind(&path).on("listen on", &path)?;
        listener.set_nonblocking(true).on("use", &path)?;
        let (ready, not_ready) = pipe()?;
        let terminal = Self {
            listener: syscalls::watch(listener.into(), Interest::READABLE).on("watch", &path)?,
            path,
            owner,
            size: size.map(|size| (size.Height, size.Width)),
            connection: None,
            master: None,
            not_ready: Some(not_ready),
        };
        Ok((terminal, ready))
    }

    /// The socket that the process sends its terminal to.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Waits until `making` has made the process, and meanwhile receives its terminal. libcontainer
    /// may make a process in several attempts; the terminal of the last attempt is used.
    ///
    /// The second value is an error when no terminal has come or it cannot be used, although the
    /// process may exist.
    pub async fn receive_during<T>(
        mut self,
        making: impl Future<Output = Result<T>>,
    ) -> (Result<T>, Result<OwnedFd>) {
        let mut making = std::pin::pin!(making);
        let mut outcome = Ok(());
        let made = loop {
            tokio::select! {
                made = &mut making => break made,
                error = self.receive_all(), if outcome.is_ok() => {
                    outcome = Err(error);
                    // The process must not wait for a terminal that never gets ready.
                    self.not_ready = None;
                }
            }
        };
        while outcome.is_ok() {
            match self.advance() {
                Ok(true) => {}
                Ok(false) => break,
                Err(error) => outcome = Err(error),
            }
        }
        let _already_gone = std::fs::remove_file(&self.path);
        let master = outcome.and_then(|()| {
            self.master
                .ok_or_else(|| Error::State("The process has sent no terminal".into()))
        });
        (made, master)
    }

    /// Receives terminals until that fails, and returns the error.
    async fn receive_all(&mut self) -> Error {
        loop {
            match self.advance() {
                Ok(true) => continue,
                Ok(false) => {}
                Err(error) => return error,
            }
            let source = self.connection.as_ref().unwrap_or(&self.listener);
            match source.readable().await {
                Ok(mut ready) => ready.clear_ready(),
                Err(_event_loop_ends) => pending().await,
            }
        }
    }

    /// Takes one step if that is possible without waiting; returns whether it was.
    fn advance(&mut self) -> Result<bool> {
        let Some(connection) = &self.connection else {
            return self.accept();
        };
        let received =
            match syscalls::receive_with_descriptors(connection.get_ref().as_fd(), &mut [0; 256]) {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(false),
                received => received.on("receive a terminal on", &self.path)?,
            };
        self.connection = None;
        if let Some(master) = received.1.into_iter().next() {
            self.prepare(master.as_fd())?;
            self.master = Some(master);
            self.not_ready = None;
        }
        Ok(true)
    }

    fn accept(&mut self) -> Result<bool> {
        match syscalls::accept(self.listener.get_ref().as_fd()) {
            Err(Errno::EAGAIN) => Ok(false),
            accepted => {
                let accepted = accepted.on("accept a terminal on", &self.path)?;
                let watched = syscalls::watch(accepted, Interest::READABLE);
                self.connection = Some(watched.on("watch", &self.path)?);
                Ok(true)
            }
        }
    }

    /// Sets size and owner.
    fn prepare(&self, master: BorrowedFd<'_>) -> Result<()> {
        if let Some((rows, columns)) = self.size {
            resize(master, rows, columns)?;
        }
        if !self.owner.is_root() {
            // The group is that of the devpts mount.
            syscalls::open_terminal_peer(master)
                .and_then(|end| Ok(fchown(end, Some(self.owner), None)?))
                .doing(|| format!("give a terminal to the user {}", self.owner))?;
        }
        Ok(())
    }
}

/// Sets a terminal's size.
///
/// # Errors
///
/// When `master` is not a terminal, or a side is more than 65535 characters long.
pub fn resize(master: BorrowedFd<'_>, rows: u32, columns: u32) -> Result<()> {
    let side = |cells: u32| {
        u16::try_from(cells).map_err(|_| {
            Error::Invalid(format!(
                "a terminal cannot be {cells} characters wide or high"
            ))
        })
    };
    syscalls::set_window_size(master, side(rows)?, side(columns)?)
        .doing(|| "resize a terminal".into())
}

//! The terminal of a process that is being made: taken over, sized and given to its user before the
//! program is executed.

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
    raw,
    zygote::receive_bytes,
};

/// Where a terminal is expected, and what is done to it.
pub struct Terminal {
    path: PathBuf,
    owner: Uid,
    /// Rows and columns.
    size: Option<(u32, u32)>,
    listener: AsyncFd<OwnedFd>,
    /// Accepted, and nothing has come yet.
    connection: Option<AsyncFd<OwnedFd>>,
    /// The last one that came.
    master: Option<OwnedFd>,
    /// The process waits for its end of this pipe to come to an end.
    gate: Option<OwnedFd>,
}

impl Terminal {
    /// One that will come through a socket at `path`. The second value is for the process that is made.
    ///
    /// # Errors
    ///
    /// When there can be no socket.
    pub fn expect(path: PathBuf, owner: Uid, size: Option<&oci::Box>) -> Result<(Self, OwnedFd)> {
        let listener = UnixListener::bind(&path).on("listen on", &path)?;
        listener.set_nonblocking(true).on("use", &path)?;
        let (theirs, gate) = pipe()?;
        let terminal = Self {
            listener: raw::watch(listener.into(), Interest::READABLE).on("watch", &path)?,
            path,
            owner,
            size: size.map(|size| (size.Height, size.Width)),
            connection: None,
            master: None,
            gate: Some(gate),
        };
        Ok((terminal, theirs))
    }

    /// The socket that the process sends its terminal to.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Waits for the process that `making` makes, and meanwhile for its terminal. A process may be made
    /// in several attempts; the last one's terminal counts.
    ///
    /// The second value is an error when none has come, or it cannot be used; the process is there.
    pub async fn meet<T>(
        mut self,
        making: impl Future<Output = Result<T>>,
    ) -> (Result<T>, Result<OwnedFd>) {
        let mut making = std::pin::pin!(making);
        let mut trouble = Ok(());
        let made = loop {
            tokio::select! {
                made = &mut making => break made,
                failed = self.receive(), if trouble.is_ok() => {
                    trouble = Err(failed);
                    self.gate = None;
                }
            }
        };
        while trouble.is_ok() {
            match self.advance() {
                Ok(true) => {}
                Ok(false) => break,
                Err(failed) => trouble = Err(failed),
            }
        }
        let _already_gone = std::fs::remove_file(&self.path);
        let master = trouble.and_then(|()| {
            self.master
                .ok_or_else(|| Error::State("The process has sent no terminal".into()))
        });
        (made, master)
    }

    /// Takes what comes. Returns when that is not possible.
    async fn receive(&mut self) -> Error {
        loop {
            match self.advance() {
                Ok(true) => continue,
                Ok(false) => {}
                Err(error) => return error,
            }
            let source = self.connection.as_ref().unwrap_or(&self.listener);
            match source.readable().await {
                Ok(mut ready) => ready.clear_ready(),
                Err(_the_runtime_ends) => pending().await,
            }
        }
    }

    /// Does what can be done without waiting, and says whether that was anything.
    fn advance(&mut self) -> Result<bool> {
        let Some(connection) = &self.connection else {
            return self.accept();
        };
        let received = match receive_bytes(connection.get_ref().as_fd(), &mut [0; 256]) {
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(false),
            received => received.on("receive a terminal on", &self.path)?,
        };
        self.connection = None;
        if let Some(master) = received.1.into_iter().next() {
            self.prepare(master.as_fd())?;
            self.master = Some(master);
            self.gate = None;
        }
        Ok(true)
    }

    fn accept(&mut self) -> Result<bool> {
        match raw::accept(self.listener.get_ref().as_fd()) {
            Err(Errno::EAGAIN) => Ok(false),
            accepted => {
                let accepted = accepted.on("accept a terminal on", &self.path)?;
                let watched = raw::watch(accepted, Interest::READABLE);
                self.connection = Some(watched.on("watch", &self.path)?);
                Ok(true)
            }
        }
    }

    fn prepare(&self, master: BorrowedFd<'_>) -> Result<()> {
        if let Some((rows, columns)) = self.size {
            resize(master, rows, columns)?;
        }
        if !self.owner.is_root() {
            // Only the user: the group is the mount's.
            raw::other_end(master)
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
/// When there is none, or none of that size.
pub fn resize(master: BorrowedFd<'_>, rows: u32, columns: u32) -> Result<()> {
    let side = |cells: u32| {
        u16::try_from(cells).map_err(|_| Error::Invalid(format!("no terminal has {cells} cells")))
    };
    raw::set_window_size(master, side(rows)?, side(columns)?).doing(|| "resize a terminal".into())
}

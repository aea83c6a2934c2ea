//! How a guest's agent is reached.

mod hybrid;
mod retry;
mod vsock;

use std::{fmt, io, path::PathBuf, time::Duration};

use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::UnixStream,
    time::timeout,
};

use crate::{
    error::{Error, Result},
    serial,
};

/// Where a guest's agent listens.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Channel {
    /// A virtio-serial port, behind a unix socket of the VMM. Connecting waits for the guest
    /// without trying again: the session mark stays in the port until the guest reads it.
    Serial(PathBuf),
    /// AF_VSOCK. The guest refuses until its agent listens. There is no event for that,
    /// so connecting is retried.
    Vsock {
        /// The guest's context identifier.
        cid: u32,
        /// Port of the agent, usually [`crate::AGENT_PORT`].
        port: u32,
    },
    /// A unix socket of the VMM that accepts `CONNECT <port>`. The VMM closes the connection until
    /// the agent listens, so connecting is retried.
    HybridVsock {
        /// Path of the VMM's socket.
        socket: PathBuf,
        /// Port of the agent, usually [`crate::AGENT_PORT`].
        port: u32,
    },
}

impl fmt::Display for Channel {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Serial(socket) => write!(f, "serial port {}", socket.display()),
            Self::Vsock { cid, port } => write!(f, "vsock {cid}:{port}"),
            Self::HybridVsock { socket, port } => {
                write!(f, "hybrid vsock {}:{port}", socket.display())
            }
        }
    }
}

/// A connection of any kind.
pub trait Stream: AsyncRead + AsyncWrite + Send + Sync + Unpin {}
impl<S: AsyncRead + AsyncWrite + Send + Sync + Unpin> Stream for S {}

impl Channel {
    /// Connects, and waits for the guest until `deadline` has elapsed.
    pub(crate) async fn open(&self, deadline: Duration) -> Result<Box<dyn Stream>> {
        let mut last = None;
        let opened = timeout(deadline, self.attempts(&mut last)).await;
        match (opened, last) {
            (Ok(Ok(stream)), _) => Ok(stream),
            (Ok(Err(source)), _) => Err(Error::Connect {
                channel: self.to_string(),
                source,
            }),
            (Err(_), last) => Err(Error::Timeout {
                waited_for: match last {
                    Some(error) => format!("the agent on {self} (last attempt: {error})"),
                    None => format!("the agent on {self}"),
                },
                waited: deadline,
            }),
        }
    }

    async fn attempts(&self, last: &mut Option<io::Error>) -> io::Result<Box<dyn Stream>> {
        Ok(match self {
            Self::Serial(socket) => {
                let stream = UnixStream::connect(socket).await?;
                let nonce = system::random::bytes()?;
                Box::new(serial::open(stream, &nonce).await?)
            }
            Self::Vsock { cid, port } => {
                let attempt = || vsock::connect(*cid, *port);
                Box::new(retry::until_up(attempt, vsock::is_worth_another_try, last).await?)
            }
            Self::HybridVsock { socket, port } => {
                let attempt = || hybrid::connect(socket, *port);
                Box::new(retry::until_up(attempt, hybrid::is_worth_another_try, last).await?)
            }
        })
    }
}

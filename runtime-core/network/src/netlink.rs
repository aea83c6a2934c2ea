//! A connection to the kernel's routing tables, in the namespace of the thread that made it.

use std::{
    io,
    path::{Path, PathBuf},
};

use futures::{Stream, StreamExt, TryStreamExt};
use rtnetlink::{
    Error, Handle,
    packet_core::{NLM_F_ACK, NLM_F_REQUEST, NetlinkMessage, NetlinkPayload},
    packet_route::RouteNetlinkMessage,
};

use super::{NetworkError, Tap, tap};

/// The connection. A task of the thread's runtime moves its bytes and ends with it.
pub(super) struct Netlink {
    handle: Handle,
    path: PathBuf,
}

impl Netlink {
    /// Connects to the namespace of the calling thread. `path` names it in errors.
    pub(super) fn connect(path: &Path) -> Result<Self, NetworkError> {
        let (connection, handle, _) =
            rtnetlink::new_connection().map_err(|source| NetworkError::Namespace {
                action: "Connecting to",
                path: path.to_owned(),
                source,
            })?;
        tokio::spawn(connection);
        Ok(Self {
            handle,
            path: path.to_owned(),
        })
    }

    /// For requests that return a list.
    pub(super) fn handle(&self) -> &Handle {
        &self.handle
    }

    /// Collects a whole list. `what` names it in errors.
    pub(super) async fn list<T>(
        &self,
        what: &'static str,
        answers: impl Stream<Item = Result<T, Error>>,
    ) -> Result<Vec<T>, NetworkError> {
        let all = answers.try_collect().await;
        all.map_err(|error| self.failed(format!("Listing {what}"), into_io(error)))
    }

    /// Sends a request for a change, and waits for the kernel's answer. `flags` are added to
    /// `NLM_F_REQUEST` and `NLM_F_ACK`.
    pub(super) async fn ask(&mut self, message: RouteNetlinkMessage, flags: u16) -> io::Result<()> {
        let mut request = NetlinkMessage::from(message);
        request.header.flags = NLM_F_REQUEST | NLM_F_ACK | flags;
        let mut answers = self.handle.request(request).map_err(into_io)?;
        while let Some(answer) = answers.next().await {
            if let NetlinkPayload::Error(error) = answer.payload
                && error.code.is_some()
            {
                return Err(error.to_io());
            }
        }
        Ok(())
    }

    /// Makes a tap in the namespace.
    pub(super) fn tap(&self) -> Result<Tap, NetworkError> {
        tap::open().map_err(|error| self.failed("Making a tap".into(), error))
    }

    /// The error for an `action` that failed, as in "Listing addresses".
    pub(super) fn failed(&self, action: String, source: io::Error) -> NetworkError {
        NetworkError::Kernel {
            action,
            path: self.path.clone(),
            source,
        }
    }
}

fn into_io(error: Error) -> io::Error {
    match error {
        Error::NetlinkError(message) => message.to_io(),
        other => io::Error::other(other),
    }
}

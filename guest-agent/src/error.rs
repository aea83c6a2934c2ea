//! What can go wrong in the agent, and the ttrpc status of each error.

use std::{io, path::Path, time::Duration};

use ttrpc::Code;

/// A request that was not carried out.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The request itself is wrong: repeating it cannot help.
    #[error("Invalid request: {0}")]
    Invalid(String),
    /// There is nothing with that name.
    #[error("There is no {kind} {id:?}")]
    NotFound { kind: &'static str, id: String },
    /// The name is taken.
    #[error("There is already a {kind} {id:?}")]
    Exists { kind: &'static str, id: String },
    /// The state of the guest or of a container does not allow what was asked. A whole sentence.
    #[error("{0}")]
    State(String),
    /// A system call failed.
    #[error("Could not {doing}")]
    System {
        /// Completes the sentence "Could not …", as in all variants that have it.
        doing: String,
        #[source]
        source: io::Error,
    },
    /// libcontainer, or another library whose errors are only text here, has failed.
    #[error("Could not {doing}: {reason}")]
    Runtime { doing: String, reason: String },
    /// The kernel refused a netlink request.
    #[error("Could not {doing}")]
    Netlink {
        doing: String,
        #[source]
        source: Box<rtnetlink::Error>,
    },
    /// Something did not happen in time.
    #[error("Timed out after {after:?} waiting for {event}")]
    Timeout { event: String, after: Duration },
    /// A part of the API that this agent does not implement.
    #[error("Not supported by this guest: {0}")]
    Unsupported(String),
}

/// A result of the agent's own functions.
pub type Result<T> = std::result::Result<T, Error>;

impl Error {
    fn code(&self) -> Code {
        match self {
            Self::Invalid(_) => Code::INVALID_ARGUMENT,
            Self::NotFound { .. } => Code::NOT_FOUND,
            Self::Exists { .. } => Code::ALREADY_EXISTS,
            Self::State(_) => Code::FAILED_PRECONDITION,
            Self::Timeout { .. } => Code::DEADLINE_EXCEEDED,
            Self::Unsupported(_) => Code::UNIMPLEMENTED,
            Self::System { .. } | Self::Runtime { .. } | Self::Netlink { .. } => Code::INTERNAL,
        }
    }

    /// The error and all its causes on one line, separated by colons.
    pub fn chain(&self) -> String {
        let mut text = self.to_string();
        let mut next = std::error::Error::source(self);
        while let Some(cause) = next {
            text.push_str(": ");
            text.push_str(&cause.to_string());
            next = cause.source();
        }
        text
    }
}

impl From<Error> for ttrpc::Error {
    fn from(error: Error) -> Self {
        Self::RpcStatus(ttrpc::get_status(error.code(), error.chain()))
    }
}

/// Adds to a failed system call what was being done.
pub trait Doing<T> {
    /// `doing` completes the sentence "Could not …".
    fn doing(self, doing: impl FnOnce() -> String) -> Result<T>;

    /// Like [`Doing::doing`], for "Could not `verb` `path`".
    fn on(self, verb: &str, path: &Path) -> Result<T>
    where
        Self: Sized,
    {
        self.doing(|| format!("{verb} {}", path.display()))
    }
}

impl<T, E: Into<io::Error>> Doing<T> for std::result::Result<T, E> {
    fn doing(self, doing: impl FnOnce() -> String) -> Result<T> {
        self.map_err(|source| Error::System {
            doing: doing(),
            source: source.into(),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_error_names_the_action_and_the_cause() {
        let failed: std::result::Result<(), nix::Error> = Err(nix::Error::EBUSY);
        let error = failed.on("unmount", Path::new("/x")).unwrap_err();
        assert_eq!(
            error.chain(),
            "Could not unmount /x: Device or resource busy (os error 16)"
        );
        assert_eq!(error.code(), Code::INTERNAL);
    }
}

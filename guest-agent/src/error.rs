//! What can go wrong in the agent, and how the caller is told.

use std::{io, path::Path, time::Duration};

use ttrpc::Code;

/// A request that was not carried out.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The request itself makes no sense.
    #[error("Invalid request: {0}")]
    Invalid(String),
    /// The thing named does not exist.
    #[error("No {kind} {id:?}")]
    NotFound {
        /// What was looked for.
        kind: &'static str,
        /// The name it was looked for under.
        id: String,
    },
    /// The thing named exists already.
    #[error("There is already a {kind} {id:?}")]
    Exists {
        /// What was to be made.
        kind: &'static str,
        /// Its name.
        id: String,
    },
    /// The thing is in the wrong state for what was asked.
    #[error("{0}")]
    State(String),
    /// The system refused.
    #[error("Could not {doing}")]
    System {
        /// What was not done.
        doing: String,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// The OCI runtime refused.
    #[error("Could not {doing}: {reason}")]
    Runtime {
        /// What was not done.
        doing: String,
        /// The runtime's words.
        reason: String,
    },
    /// The kernel refused a netlink request.
    #[error("Could not {doing}")]
    Netlink {
        /// What was not done.
        doing: String,
        /// Why.
        #[source]
        source: Box<rtnetlink::Error>,
    },
    /// Something did not happen in time.
    #[error("Waited {after:?} in vain for {event}")]
    Timeout {
        /// What was waited for.
        event: String,
        /// How long.
        after: Duration,
    },
    /// The agent itself failed.
    #[error("The call {0} was ended by a fault of the agent")]
    Broken(&'static str),
    /// Known, and not provided by this agent.
    #[error("Not supported by this guest: {0}")]
    Unsupported(String),
}

/// Shorthand.
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
            Self::System { .. } | Self::Runtime { .. } | Self::Netlink { .. } | Self::Broken(_) => {
                Code::INTERNAL
            }
        }
    }

    /// The whole chain of causes on one line.
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

/// Says what was being done when the system refused.
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
    fn a_refusal_names_the_deed_and_the_cause() {
        let failed: std::result::Result<(), nix::Error> = Err(nix::Error::EBUSY);
        let error = failed.on("unmount", Path::new("/x")).unwrap_err();
        assert_eq!(
            error.chain(),
            "Could not unmount /x: Device or resource busy (os error 16)"
        );
        assert_eq!(error.code(), Code::INTERNAL);
    }
}

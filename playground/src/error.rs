//! What can go wrong in a fixture.

use std::{io, path::PathBuf, time::Duration};

/// A result of this crate.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// A step that a fixture or a test did not get done.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// SIGINT, SIGTERM or SIGHUP came.
    #[error("Interrupted while waiting for {waited_for}")]
    Interrupted {
        /// What was being waited for.
        waited_for: String,
    },
    /// Nothing happened in time.
    #[error("Waited {waited:?} for {waited_for}")]
    Timeout {
        /// What was waited for.
        waited_for: String,
        /// How long.
        waited: Duration,
    },
    /// A file, a directory or a mount.
    #[error("{action} {}: {source}", path.display())]
    Io {
        /// What was done, as in "Opening".
        action: &'static str,
        /// With what.
        path: PathBuf,
        /// Why it failed.
        #[source]
        source: io::Error,
    },
    /// A program could not be started or spoken to.
    #[error("{action} {program}: {source}")]
    Program {
        /// What was done, as in "Starting".
        action: &'static str,
        /// Command line.
        program: String,
        /// Why it failed.
        #[source]
        source: io::Error,
    },
    /// A program ended otherwise than it should have.
    #[error("{program} ended with {code}: {stderr}")]
    Ended {
        /// Command line.
        program: String,
        /// Exit code, or 128 plus the signal's number.
        code: i32,
        /// What it wrote to standard error.
        stderr: String,
    },
    /// A call that was answered with an error.
    #[error("{method} ended with code {code}: {message}")]
    Rpc {
        /// Name of the call.
        method: &'static str,
        /// gRPC's status code.
        code: i32,
        /// The server's words.
        message: String,
    },
    /// Something that the fixtures need is not on this machine.
    #[error("{what} is missing at {}; {remedy}", path.display())]
    Missing {
        /// The thing.
        what: &'static str,
        /// Where it was looked for.
        path: PathBuf,
        /// What makes it.
        remedy: &'static str,
    },
    /// Something that a test is about cannot be had here: it is skipped.
    #[error("{what} cannot be had here: {reason}")]
    Unavailable {
        /// The thing.
        what: String,
        /// Why.
        reason: String,
    },
    /// Something was seen that contradicts what must be.
    #[error("{0}")]
    Unexpected(String),
}

impl Error {
    /// Shapes an I/O error with what was being done to which path.
    pub fn io(action: &'static str, path: impl Into<PathBuf>) -> impl FnOnce(io::Error) -> Self {
        let path = path.into();
        move |source| Self::Io {
            action,
            path,
            source,
        }
    }
}

/// Ends the current function with [`Error::Unexpected`] unless the condition holds.
#[macro_export]
macro_rules! ensure {
    ($condition:expr, $($message:tt)+) => {
        if !$condition {
            return Err($crate::Error::Unexpected(format!($($message)+)));
        }
    };
}

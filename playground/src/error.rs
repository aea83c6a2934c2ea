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
    #[error("Timed out after {waited:?} waiting for {waited_for}")]
    Timeout {
        /// What was waited for.
        waited_for: String,
        /// How long it was waited for.
        waited: Duration,
    },
    /// A file, a directory or a mount.
    #[error("{action} {} failed", path.display())]
    Io {
        /// What was done, as in "Opening".
        action: &'static str,
        /// The file, directory or mount point.
        path: PathBuf,
        /// The error of the system call.
        #[source]
        source: io::Error,
    },
    /// A program could not be started or spoken to.
    #[error("{action} {program} failed")]
    Program {
        /// What was done, as in "Starting".
        action: &'static str,
        /// The command line of the program.
        program: String,
        /// The error of the system call.
        #[source]
        source: io::Error,
    },
    /// A program ended otherwise than it should have.
    #[error("{program} ended with {code}: {stderr}")]
    Ended {
        /// The command line of the program.
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
        /// The status code of gRPC, above 0.
        code: i32,
        /// The message that the server sent.
        message: String,
    },
    /// Something that the fixtures need is not on this machine.
    #[error("{what} is missing at {}; {remedy}", path.display())]
    Missing {
        /// Its name, as the beginning of a sentence.
        what: &'static str,
        /// Where it was looked for.
        path: PathBuf,
        /// What to do about it, as in "`make build` makes it".
        remedy: &'static str,
    },
    /// Something that a test is about cannot be had here: it is skipped.
    #[error("{what} cannot be had here: {reason}")]
    Unavailable {
        /// Its name, as the beginning of a sentence.
        what: String,
        /// Why it is not here, in words.
        reason: String,
    },
    /// Something was seen that contradicts what must be.
    #[error("{0}")]
    Unexpected(String),
}

impl Error {
    /// What was not done and why, in one line: the error and its sources.
    #[must_use]
    pub fn chain(&self) -> String {
        system::error::chain(self)
    }

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

//! What can go wrong between a caller and a VMM.

use std::{
    io,
    path::{Path, PathBuf},
    time::Duration,
};

/// A result of this crate.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// A step that a VMM did not take.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The VMM's binary cannot be used.
    #[error("VMM {binary} cannot be used: {reason}")]
    Unusable {
        /// Its path as configured.
        binary: PathBuf,
        /// What the probe found.
        reason: String,
    },
    /// A value that no VM can have.
    #[error("Invalid VM specification: {0}")]
    InvalidSpec(String),
    /// The VMM process could not be started.
    #[error("VMM {binary} did not start")]
    Spawn {
        /// Path of the binary.
        binary: PathBuf,
        /// What the system said.
        #[source]
        source: io::Error,
    },
    /// The VMM ended while something was asked of it.
    #[error("VMM ended during {during}: {last_words}")]
    Exited {
        /// The step that was being taken, as in "the load of a saved state".
        during: &'static str,
        /// Its last lines on standard error.
        last_words: String,
    },
    /// The VMM refused a request.
    #[error("VMM refused {request}: {reason}")]
    Refused {
        /// Name of the request.
        request: String,
        /// Why, in the VMM's own words.
        reason: String,
    },
    /// The VMM said something that is not its protocol.
    #[error("VMM sent an invalid message: {0}")]
    Protocol(String),
    /// No answer in time.
    #[error("Timed out after {waited:?} waiting for {waited_for}")]
    Timeout {
        /// What was waited for.
        waited_for: String,
        /// How long it was waited for.
        waited: Duration,
    },
    /// A file or a socket of the VM.
    #[error("{action} {path} failed")]
    Io {
        /// What was done, as in "Opening".
        action: &'static str,
        /// The file or directory.
        path: PathBuf,
        /// What the system said.
        #[source]
        source: io::Error,
    },
}

/// Makes the error of a failed `action` on the file or directory `path`.
pub(crate) fn io_error(action: &'static str, path: &Path) -> impl FnOnce(io::Error) -> Error {
    let path = path.to_owned();
    move |source| Error::Io {
        action,
        path,
        source,
    }
}

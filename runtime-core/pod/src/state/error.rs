//! What can go wrong with a sandbox's directory.

use std::{io, path::PathBuf};

use oci::InvalidId;

/// A sandbox's directory could not be used.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum StateError {
    /// The identifier would not be a safe file name.
    #[error(transparent)]
    Id(#[from] InvalidId),
    /// Sockets in the directory would have names that the kernel refuses (unix(7), `sun_path`).
    #[error(
        "Socket paths below {dir} would be up to {length} bytes long, the limit is {limit}; \
         choose a shorter run root or identifier"
    )]
    PathTooLong {
        /// The sandbox's directory.
        dir: PathBuf,
        /// Length of the longest socket path, in bytes.
        length: usize,
        /// The limit, in bytes.
        limit: usize,
    },
    /// The sandbox is there already, or what a killed shim left of it.
    #[error("{dir} exists already")]
    Exists {
        /// The sandbox's directory.
        dir: PathBuf,
    },
    /// The record was written by a version of another format, or is damaged.
    #[error("{path} cannot be read as a sandbox's record: {reason}")]
    Unreadable {
        /// Path of the record.
        path: PathBuf,
        /// What is wrong with it.
        reason: String,
    },
    /// A file or directory of the sandbox.
    #[error("{action} {path}")]
    Io {
        /// What was done, as in "Opening".
        action: &'static str,
        /// With what.
        path: PathBuf,
        /// Why it failed.
        #[source]
        source: io::Error,
    },
}

impl StateError {
    /// For `map_err` of a step on `path`.
    pub(super) fn io(
        action: &'static str,
        path: &std::path::Path,
    ) -> impl FnOnce(io::Error) -> Self {
        let path = path.to_owned();
        move |source| Self::Io {
            action,
            path,
            source,
        }
    }
}

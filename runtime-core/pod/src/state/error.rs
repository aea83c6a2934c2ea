//! Errors about a sandbox's directory.

use std::{io, path::PathBuf};

use oci::InvalidId;

/// Why a sandbox's directory cannot be used.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum StateError {
    /// The identifier would not be a safe file name.
    #[error(transparent)]
    Id(#[from] InvalidId),
    /// Paths of sockets in the directory would be too long for the kernel (unix(7), `sun_path`).
    #[error(
        "Socket paths below {dir} would be up to {length} bytes long, the limit is {limit}; \
         choose a shorter run root or identifier"
    )]
    PathTooLong {
        /// Path of the sandbox's directory.
        dir: PathBuf,
        /// Length of the longest socket path, in bytes.
        length: usize,
        /// The limit, in bytes.
        limit: usize,
    },
    /// The sandbox exists, or a killed shim has left its directory.
    #[error("{dir} already exists")]
    Exists {
        /// Path of the sandbox's directory.
        dir: PathBuf,
    },
    /// The record has another format, or is damaged.
    #[error("{path} cannot be read as a sandbox's record: {reason}")]
    Unreadable {
        /// Path of the record.
        path: PathBuf,
        /// What is wrong with the record.
        reason: String,
    },
    /// A system call on a file or directory of the sandbox failed.
    #[error("{action} {path} failed")]
    Io {
        /// What was done, as in "Opening".
        action: &'static str,
        /// Path of the file or directory.
        path: PathBuf,
        /// The error of the system call.
        #[source]
        source: io::Error,
    },
}

impl StateError {
    /// Makes an error for `map_err`: `action` on `path` failed.
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

//! Errors about a container's specification.

use std::{io, path::PathBuf};

use super::InvalidId;

/// Why a container cannot be made from its specification. Nothing was made.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum OciError {
    /// The bundle's `config.json` could not be read.
    #[error("Reading {path} failed")]
    Read {
        /// Path of the `config.json`.
        path: PathBuf,
        /// The error of the file system.
        #[source]
        source: io::Error,
    },
    /// A file or field is longer than any specification needs.
    #[error("{what} is larger than {limit} bytes")]
    TooLarge {
        /// A path, or the name of a request's field.
        what: String,
        /// The limit, in bytes.
        limit: u64,
    },
    /// A file or field is not the JSON that was expected.
    #[error("{what} is not valid")]
    Parse {
        /// A path, or the name of a request's field.
        what: String,
        /// The parser's error, with line and column.
        #[source]
        source: serde_json::Error,
    },
    /// A request carries a value of another type.
    #[error("Expected a value of type {expected}, not {got:?}")]
    WrongType {
        /// Last part of the type's URL.
        expected: &'static str,
        /// The type's URL that was sent, cut.
        got: String,
    },
    /// A part that every container needs is absent.
    #[error("The container's specification has no {0}")]
    Missing(&'static str),
    /// A part has a value that cannot be used.
    #[error("The container's specification has an invalid {field}: {value:?}")]
    Invalid {
        /// Its name in `config.json`, with what is wrong.
        field: &'static str,
        /// The value that cannot be used.
        value: String,
    },
    /// An identifier that no container can have.
    #[error(transparent)]
    Id(#[from] InvalidId),
    /// A mount that only the host can make.
    #[error("Mount of type {fs_type:?} on {destination} cannot be made in a virtual machine")]
    UnsupportedMount {
        /// Path in the container.
        destination: PathBuf,
        /// Type of the mount, as in `overlay`.
        fs_type: String,
    },
    /// A part that cannot be passed on, and whose loss would weaken or change the container.
    #[error("{field} of the container's specification is not supported")]
    Unsupported {
        /// Its name in `config.json`.
        field: &'static str,
    },
    /// Bind mounts of host files whose content was not brought into the guest.
    #[error("Bind mounts of host files are not supported here: {}", .destinations.join(", "))]
    HostBindsLeft {
        /// Their paths in the container.
        destinations: Vec<String>,
    },
}

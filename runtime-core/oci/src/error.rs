//! What can be wrong with a container's specification.

use std::{io, path::PathBuf};

use super::InvalidId;

/// A specification that no container can be made from. Nothing was made.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum OciError {
    /// The bundle's `config.json` could not be read.
    #[error("Reading {path}")]
    Read {
        /// Its path.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// More bytes than any specification needs.
    #[error("{what} is larger than {limit} bytes")]
    TooLarge {
        /// A path, or the name of a request's field.
        what: String,
        /// The limit, in bytes.
        limit: u64,
    },
    /// Not the JSON that was expected.
    #[error("{what} is not valid")]
    Parse {
        /// A path, or the name of a request's field.
        what: String,
        /// Where and why.
        #[source]
        source: serde_json::Error,
    },
    /// A request carries a value of another type.
    #[error("Expected a value of type {expected}, not {got:?}")]
    WrongType {
        /// Last part of the type's URL.
        expected: &'static str,
        /// What came.
        got: String,
    },
    /// A part that every container needs is absent.
    #[error("The container's specification has no {0}")]
    Missing(&'static str),
    /// A part has a value that cannot be used.
    #[error("The container's specification has an invalid {field}: {value:?}")]
    Invalid {
        /// Its name in `config.json`.
        field: &'static str,
        /// The value.
        value: String,
    },
    /// An identifier that names no container.
    #[error(transparent)]
    Id(#[from] InvalidId),
    /// A mount that means something on the host only.
    #[error("Mount of type {fs_type:?} on {destination} cannot be made in a virtual machine")]
    UnsupportedMount {
        /// Where in the container.
        destination: PathBuf,
        /// Its type.
        fs_type: String,
    },
    /// A part whose loss would weaken or change the container.
    #[error("{field} of the container's specification is not supported")]
    Unsupported {
        /// Its name in `config.json`.
        field: &'static str,
    },
    /// Bind mounts of host files whose content nobody brought into the guest.
    #[error("Bind mounts of host files are not supported here: {}", .destinations.join(", "))]
    HostBindsLeft {
        /// Where in the container they belong.
        destinations: Vec<String>,
    },
}

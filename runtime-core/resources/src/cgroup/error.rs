//! What can go wrong with a pod's cgroups.

use std::{io, path::PathBuf};

/// A step with a cgroup that was not taken.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum CgroupError {
    /// The name would lead elsewhere, or nowhere.
    #[error("{0:?} is no cgroup's path")]
    Path(String),
    /// A file or directory.
    #[error("{action} {path} failed")]
    Io {
        /// What was done, as in "Removing".
        action: &'static str,
        /// With what.
        path: PathBuf,
        /// Why it failed.
        #[source]
        source: io::Error,
    },
    /// Processes in a cgroup did not end when they were killed.
    #[error("Processes in cgroup {path} were killed and did not end within {seconds} s: {pids:?}")]
    Busy {
        /// Its directory.
        path: PathBuf,
        /// How long was waited.
        seconds: u64,
        /// Which.
        pids: Vec<u32>,
    },
}

//! Errors about a pod's cgroups.

use std::{io, path::PathBuf};

/// Why a change of a cgroup failed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum CgroupError {
    /// A path that contains `..` or control characters, or that is not a name of systemd's.
    #[error("Cgroup path {0:?} is not valid")]
    Path(String),
    /// A system call on a file or directory failed.
    #[error("{action} {path} failed")]
    Io {
        /// What was done, as in "Removing".
        action: &'static str,
        /// Path of the file or directory.
        path: PathBuf,
        /// The error of the system call.
        #[source]
        source: io::Error,
    },
    /// Processes in a cgroup did not end when they were killed.
    #[error("Processes in cgroup {path} were killed and did not end within {seconds} s: {pids:?}")]
    Busy {
        /// Directory of the cgroup.
        path: PathBuf,
        /// The timeout that was exceeded.
        seconds: u64,
        /// Their pids, in this process's pid namespace.
        pids: Vec<u32>,
    },
}

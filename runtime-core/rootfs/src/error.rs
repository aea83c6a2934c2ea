//! Errors about root file systems.

use std::{io, path::PathBuf, time::Duration};

/// Why a root file system could not be turned into disks. Nothing is left behind.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum RootfsError {
    /// A mount that cannot be turned into a disk.
    #[error("Root file system of type {fs_type:?} from {source_path:?} cannot be used: {reason}")]
    Unsupported {
        /// Type of the mount.
        fs_type: String,
        /// Source of the mount.
        source_path: String,
        /// What is wrong with the mount, as "its source is not ...".
        reason: String,
    },
    /// The program that makes images is not installed.
    #[error("mkfs.erofs is not installed (Debian package erofs-utils)")]
    NoMkfs,
    /// The program that makes images failed.
    #[error("Making an image with mkfs.erofs failed: {reason}")]
    Mkfs {
        /// The signal, or the end of its error output.
        reason: String,
        /// The signal that ended it.
        signal: Option<i32>,
    },
    /// There is no space for the image, even after all unused images were removed.
    #[error("No space left for an image of the root file system in {dir}")]
    Full {
        /// Directory of the cache.
        dir: PathBuf,
    },
    /// The thread that inspected or packed a root file system ended without a result.
    #[error("Preparing the root file system was interrupted")]
    Ended,
    /// The tree changed while it was read.
    #[error("{path} changed while it was packed")]
    Changed {
        /// Directory in which something changed.
        path: PathBuf,
    },
    /// A timeout was exceeded.
    #[error("Timed out after {waited:?} waiting for {waited_for}")]
    Timeout {
        /// What was waited for.
        waited_for: String,
        /// The timeout that was exceeded.
        waited: Duration,
    },
    /// A system call on a file, a directory or a mount failed.
    #[error("{action} {path} failed")]
    Io {
        /// What was done, as in "Opening".
        action: &'static str,
        /// Path of the file, directory or mount.
        path: PathBuf,
        /// The error of the system call.
        #[source]
        source: io::Error,
    },
}

impl RootfsError {
    /// Whether the program that makes images was killed by SIGKILL, as the OOM killer does.
    #[must_use]
    pub fn is_kill(&self) -> bool {
        let killed = Some(nix::libc::SIGKILL);
        matches!(self, Self::Mkfs { signal, .. } if *signal == killed)
    }

    /// Makes an error for `map_err`: `action` on `path` failed.
    pub(super) fn io<E: Into<io::Error>>(
        action: &'static str,
        path: &std::path::Path,
    ) -> impl FnOnce(E) -> Self {
        let path = path.to_owned();
        move |source| Self::Io {
            action,
            path,
            source: source.into(),
        }
    }
}

//! What can go wrong between containerd's mounts and a disk.

use std::{io, path::PathBuf, time::Duration};

/// A root file system that no disk could be made of. Nothing was left behind.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum RootfsError {
    /// A mount that cannot be turned into a disk.
    #[error("Root file system of type {fs_type:?} from {source_path:?} cannot be used: {reason}")]
    Unsupported {
        /// Type of the mount.
        fs_type: String,
        /// Its source.
        source_path: String,
        /// Why.
        reason: String,
    },
    /// The program that makes images is not installed.
    #[error("mkfs.erofs is not installed (Debian package erofs-utils)")]
    NoMkfs,
    /// The program that makes images failed.
    #[error("mkfs.erofs made no image: {reason}")]
    Mkfs {
        /// How it ended, or its last words.
        reason: String,
        /// The signal that ended it.
        signal: Option<i32>,
    },
    /// No space for the image, also after all unused images were removed.
    #[error("No space left for an image of the root file system in {dir}")]
    Full {
        /// The cache.
        dir: PathBuf,
    },
    /// The thread that looked for a root file system, or made its image, ended without an answer.
    #[error("An image of the root file system was not made: its thread ended")]
    Ended,
    /// The tree changed while it was read.
    #[error("{path} changed while an image was made of it")]
    Changed {
        /// The tree.
        path: PathBuf,
    },
    /// Not done in time.
    #[error("Waited {waited:?} for {waited_for}")]
    Timeout {
        /// What was waited for.
        waited_for: String,
        /// How long.
        waited: Duration,
    },
    /// A file, a directory or a mount.
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

impl RootfsError {
    /// Whether the program that makes images was killed, as the OOM killer does it.
    #[must_use]
    pub fn is_kill(&self) -> bool {
        let killed = Some(nix::libc::SIGKILL);
        matches!(self, Self::Mkfs { signal, .. } if *signal == killed)
    }

    /// For `map_err` of a step on `path`.
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

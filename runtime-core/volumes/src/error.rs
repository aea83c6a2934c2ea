//! Errors about volumes.

use std::{io, path::PathBuf, time::Duration};

/// Why a container did not get a volume. Copies that were made stay in the guest's memory until its
/// VM ends; disks are detached again.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum VolumeError {
    /// A mount that is not possible, or not allowed, in a virtual machine.
    #[error(
        "Volume {} from {} cannot be mounted: {reason}",
        .destination.display(),
        .source_path.display()
    )]
    Refused {
        /// Path in the container.
        destination: PathBuf,
        /// Path on the host.
        source_path: PathBuf,
        /// The reason, and what to do instead.
        reason: String,
    },
    /// The content exceeds a limit.
    #[error("Volume {path} is larger than {limit} bytes ({key})")]
    TooLarge {
        /// Path on the host.
        path: PathBuf,
        /// The limit, in bytes.
        limit: u64,
        /// The configuration's key of the limit, or what it is for.
        key: &'static str,
    },
    /// The number of files or the depth of directories exceeds a limit.
    #[error("Volume {path} has more than {limit} files, or is deeper than {depth} directories")]
    TooMany {
        /// Path on the host.
        path: PathBuf,
        /// The most files, directories and links.
        limit: u32,
        /// The most directories in one path.
        depth: u32,
    },
    /// The number of copied volumes exceeds a limit.
    #[error("The sandbox has more than {limit} volumes that are copied")]
    TooManyCopied {
        /// The most copied volumes of a sandbox.
        limit: usize,
    },
    /// The content changed each time it was read.
    #[error("{path} kept changing while it was copied")]
    Changing {
        /// Path on the host.
        path: PathBuf,
    },
    /// The agent's API cannot express a file's name or a link's target.
    #[error("Name {name:?} in {path} is not UTF-8")]
    Name {
        /// Path of the volume on the host.
        path: PathBuf,
        /// The name, with replacement characters.
        name: String,
    },
    /// A timeout was exceeded.
    #[error("Timed out after {waited:?} waiting for {waited_for}")]
    Timeout {
        /// What was waited for.
        waited_for: String,
        /// The timeout that was exceeded.
        waited: Duration,
    },
    /// A system call on a path of the host failed.
    #[error("{action} {path} failed")]
    Io {
        /// What was done, as in "Opening".
        action: &'static str,
        /// Path on the host.
        path: PathBuf,
        /// The error of the system call.
        #[source]
        source: io::Error,
    },
    /// A watch of changed files was refused.
    #[error(
        "Changes of the pod's volumes cannot be watched \
         (the node may have run out of fs.inotify.max_user_instances)"
    )]
    Watch {
        /// The error of inotify(7).
        #[source]
        source: io::Error,
    },
    /// The guest refused or did not answer.
    #[error("Copying {path} into the guest failed")]
    Agent {
        /// Path on the host.
        path: PathBuf,
        /// What the agent answered.
        #[source]
        source: agent_client::Error,
    },
    /// The VMM refused or did not answer.
    #[error("Hot-plugging {path} as a disk failed")]
    Vm {
        /// Path on the host.
        path: PathBuf,
        /// What the VMM answered.
        #[source]
        source: hypervisors::Error,
    },
    /// The thread that read the path ended without a result.
    #[error("Reading {path} was interrupted")]
    Ended {
        /// Path on the host.
        path: PathBuf,
    },
}

impl VolumeError {
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

    /// Whether the request is to blame, and not the node.
    #[must_use]
    pub fn is_refusal(&self) -> bool {
        matches!(
            self,
            Self::Refused { .. }
                | Self::TooLarge { .. }
                | Self::TooMany { .. }
                | Self::TooManyCopied { .. }
                | Self::Name { .. }
        )
    }
}

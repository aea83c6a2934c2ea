//! What can go wrong between a bind mount of the host and its content in the guest.

use std::{io, path::PathBuf, time::Duration};

/// A volume that a container did not get. Copies that were made stay in the guest's memory until
/// its VM ends; disks are unplugged again.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum VolumeError {
    /// A mount that is not made in a virtual machine.
    #[error("Volume {} from {} cannot be mounted: {reason}", .destination.display(), .source_path.display())]
    Refused {
        /// Where in the container.
        destination: PathBuf,
        /// Path on the host.
        source_path: PathBuf,
        /// Why, and what to do instead.
        reason: String,
    },
    /// More content than is copied.
    #[error("Volume {path} is larger than {limit} bytes ({key})")]
    TooLarge {
        /// Path on the host.
        path: PathBuf,
        /// The limit, in bytes.
        limit: u64,
        /// Where the limit comes from.
        key: &'static str,
    },
    /// More files than are copied.
    #[error("Volume {path} has more than {limit} files, or is deeper than {depth} directories")]
    TooMany {
        /// Path on the host.
        path: PathBuf,
        /// The limit.
        limit: u32,
        /// The limit of the depth.
        depth: u32,
    },
    /// More volumes than are copied.
    #[error("The sandbox has more than {limit} volumes that are copied")]
    TooManyCopied {
        /// The limit.
        limit: usize,
    },
    /// The content changed each time it was read.
    #[error("{path} kept changing while it was copied")]
    Changing {
        /// Path on the host.
        path: PathBuf,
    },
    /// A file's name or a link's target that the agent's API cannot carry.
    #[error("Name {name:?} in {path} is not UTF-8")]
    Name {
        /// Path of the volume on the host.
        path: PathBuf,
        /// The name, as far as it can be shown.
        name: String,
    },
    /// Not done in time.
    #[error("Waited {waited:?} for {waited_for}")]
    Timeout {
        /// What was waited for.
        waited_for: String,
        /// How long.
        waited: Duration,
    },
    /// A file or a directory of the host.
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
    /// The kernel's notices of changed files.
    #[error(
        "Changes of the pod's volumes cannot be watched \
         (the node may have run out of fs.inotify.max_user_instances)"
    )]
    Watch {
        /// Why.
        #[source]
        source: io::Error,
    },
    /// The guest refused or did not answer.
    #[error("Copying {path} into the guest failed")]
    Agent {
        /// Path on the host.
        path: PathBuf,
        /// The agent's words.
        #[source]
        source: agent_client::Error,
    },
    /// The monitor refused or did not answer.
    #[error("Plugging {path} as a disk failed")]
    Vm {
        /// Path on the host.
        path: PathBuf,
        /// The monitor's words.
        #[source]
        source: hypervisors::Error,
    },
    /// The thread that read the content ended without an answer.
    #[error("{path} was not copied: its thread ended")]
    Ended {
        /// Path on the host.
        path: PathBuf,
    },
}

impl VolumeError {
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

    /// What is refused is the request's fault, not the node's.
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

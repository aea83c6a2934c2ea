//! Why a pod, or a container of one, was not made.

use std::{io, path::PathBuf};

use config::AnnotationError;
use network::NetworkError;
use oci::OciError;
use pod::{sandbox, state::StateError};
use resources::cgroup::{CgroupError, OutOfMemory, PodCgroups};
use rootfs::RootfsError;

use crate::launch::LaunchError;

/// A request for a pod or a container that was not fulfilled. Nothing of what was asked for is
/// left, or the log says what is.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The sandbox refused or failed.
    #[error(transparent)]
    Sandbox(#[from] sandbox::Error),
    /// The specification cannot be used.
    #[error(transparent)]
    Spec(#[from] OciError),
    /// The pod asks for what its annotations cannot change.
    #[error(transparent)]
    Annotation(#[from] AnnotationError),
    /// The files that the pod's containers share could not be written.
    #[error("Writing {path} for the pod's containers failed")]
    SharedFiles {
        /// The file or directory.
        path: PathBuf,
        /// What the kernel answered.
        #[source]
        source: io::Error,
    },
    /// The VM was not started.
    #[error(transparent)]
    Launch(#[from] LaunchError),
    /// The root file system could not be prepared.
    #[error(transparent)]
    Rootfs(#[from] RootfsError),
    /// The pod's network could not be made.
    #[error(transparent)]
    Network(#[from] NetworkError),
    /// The pod's cgroups could not be made.
    #[error(transparent)]
    Cgroup(#[from] CgroupError),
    /// A step failed after the host's OOM killer had ended a process of the pod.
    #[error("The host's OOM killer ended a process of the pod: {why}")]
    OutOfMemory {
        /// What the pod may use and has used.
        why: OutOfMemory,
        /// The step's own error.
        #[source]
        source: Box<Error>,
    },
    /// The sandbox's record could not be written.
    #[error(transparent)]
    State(#[from] StateError),
    /// No thread could be started to stand for a container.
    #[error("Container {container} got no process number on this node")]
    Pid {
        /// Id of the container.
        container: String,
        /// What the kernel answered.
        #[source]
        source: io::Error,
    },
    /// The client has deleted a container before it was made.
    #[error("Creating container {0} was cancelled while its root file system was prepared")]
    ContainerCancelled(String),
    /// The pod is gone from this node.
    #[error("Sandbox {0:?} is gone")]
    Gone(String),
}

impl Error {
    /// The error, and that it is the OOM killer's doing if that was in the pod's cgroup.
    pub(crate) fn in_memory_of(self, cgroups: Option<&PodCgroups>) -> Self {
        if matches!(self, Self::OutOfMemory { .. }) {
            return self;
        }
        match cgroups.and_then(PodCgroups::out_of_memory) {
            None => self,
            Some(why) => Self::OutOfMemory {
                why,
                source: Box::new(self),
            },
        }
    }
}

//! Errors as containerd and its clients get them.

use std::{io, path::PathBuf};

use agent_client::Code as GuestCode;
use config::AnnotationError;
use containerd_shim_protos::ttrpc::{self, Code};
use network::NetworkError;
use oci::OciError;
use pod::{container, sandbox, state::StateError};
use resources::cgroup::{CgroupError, OutOfMemory, PodCgroups};
use rootfs::RootfsError;
use system::error::chain;

use crate::{launch::LaunchError, options::OptionsError, pod_config::PodConfigError};

/// A Task request that was not fulfilled.
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
    /// The runtime options cannot be used.
    #[error(transparent)]
    Options(#[from] OptionsError),
    /// The pod's configuration cannot be used.
    #[error(transparent)]
    PodConfig(#[from] PodConfigError),
    /// What the pod's containers share could not be made ready.
    #[error("Writing {path} for the pod's containers failed")]
    PodFiles {
        /// The file or directory.
        path: PathBuf,
        /// Why.
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
    /// Something failed since the host's OOM killer ended it.
    #[error("The host's OOM killer ended a process of the pod: {why}")]
    OutOfMemory {
        /// What the pod may use and has used.
        why: OutOfMemory,
        /// What failed.
        #[source]
        source: Box<Error>,
    },
    /// The sandbox's record could not be kept.
    #[error(transparent)]
    State(#[from] StateError),
    /// No thread could be started to stand for a container.
    #[error("Container {container} got no process number on this node")]
    Pid {
        /// The container.
        container: String,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// No sandbox, so no such task.
    #[error("Task {0:?} was not found")]
    NoTask(String),
    /// There is a sandbox already, or one is being made.
    #[error("This shim has a sandbox already")]
    SecondSandbox,
    /// Whoever asked for the sandbox was gone when it was made. It was ended again.
    #[error("The sandbox was given up while it was made")]
    GivenUp,
    /// Whoever asked for a container has deleted it before it was made.
    #[error("Container {0} was given up while its root file system was made")]
    ContainerGivenUp(String),
    /// A pod's container came before its pod.
    #[error("Sandbox {0:?} is not in this shim")]
    NoSandbox(String),
    /// Something no version of this shim does.
    #[error("{0} is not implemented")]
    Unimplemented(&'static str),
    /// The work behind a request was lost.
    #[error("{0} was not finished")]
    Lost(&'static str),
}

impl Error {
    /// The error, and that it is the OOM killer's doing if that was in the pod's cgroup.
    pub fn in_memory_of(self, cgroups: Option<&PodCgroups>) -> Self {
        match cgroups.and_then(PodCgroups::out_of_memory) {
            None => self,
            Some(why) => Self::OutOfMemory {
                why,
                source: Box::new(self),
            },
        }
    }

    /// The one place where an error becomes a status code.
    fn code(&self) -> Code {
        match self {
            Self::Sandbox(error) => sandbox_code(error),
            Self::Spec(_)
            | Self::Annotation(_)
            | Self::Options(_)
            | Self::PodConfig(_)
            | Self::Launch(LaunchError::Config(_)) => Code::INVALID_ARGUMENT,
            Self::Network(NetworkError::HostNetwork) => Code::INVALID_ARGUMENT,
            Self::NoTask(_) => Code::NOT_FOUND,
            Self::OutOfMemory { source, .. } => source.code(),
            Self::SecondSandbox => Code::ALREADY_EXISTS,
            Self::NoSandbox(_) => Code::FAILED_PRECONDITION,
            Self::Unimplemented(_) => Code::UNIMPLEMENTED,
            Self::Launch(_)
            | Self::Cgroup(_)
            | Self::PodFiles { .. }
            | Self::Rootfs(_)
            | Self::Network(_)
            | Self::State(_)
            | Self::Pid { .. }
            | Self::GivenUp
            | Self::ContainerGivenUp(_)
            | Self::Lost(_) => Code::UNKNOWN,
        }
    }
}

fn sandbox_code(error: &sandbox::Error) -> Code {
    use sandbox::Error as E;
    match error {
        E::NotFound(_) | E::NoProcess { .. } => Code::NOT_FOUND,
        E::AlreadyExists(_) => Code::ALREADY_EXISTS,
        E::WrongPhase { .. } => Code::FAILED_PRECONDITION,
        E::Ended(_) => Code::UNAVAILABLE,
        E::Container(error) => container_code(error),
        E::Stdio(_) | E::Stream { .. } => Code::INVALID_ARGUMENT,
        E::Agent { source, .. } => agent_code(source),
        _ => Code::UNKNOWN,
    }
}

fn container_code(error: &container::Error) -> Code {
    use container::Error as E;
    match error {
        E::Unsupported(_) => Code::UNIMPLEMENTED,
        E::Volume(error) if !error.is_refusal() => Code::UNKNOWN,
        E::Volume(_) | E::Spec(_) => Code::INVALID_ARGUMENT,
        E::Agent { source, .. } => agent_code(source),
        _ => Code::UNKNOWN,
    }
}

fn agent_code(error: &agent_client::Error) -> Code {
    match error.code() {
        Some(GuestCode::NOT_FOUND) => Code::NOT_FOUND,
        Some(GuestCode::INVALID_ARGUMENT) => Code::INVALID_ARGUMENT,
        Some(GuestCode::UNIMPLEMENTED) => Code::UNIMPLEMENTED,
        _ => Code::UNKNOWN,
    }
}

impl From<Error> for ttrpc::Error {
    fn from(error: Error) -> Self {
        Self::RpcStatus(ttrpc::get_status(error.code(), chain(&error)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use pod::process::TaskId;

    #[test]
    fn codes_are_those_containerd_acts_on() {
        let not_found = Error::from(sandbox::Error::NotFound(TaskId::new("a", "")));
        assert_eq!(not_found.code(), Code::NOT_FOUND);
        assert_eq!(
            Error::Unimplemented("Checkpoint").code(),
            Code::UNIMPLEMENTED
        );
        assert_eq!(Error::SecondSandbox.code(), Code::ALREADY_EXISTS);
    }
}

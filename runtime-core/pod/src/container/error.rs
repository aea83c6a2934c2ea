//! Errors of the creation of a container.

use oci::OciError;
use volumes::VolumeError;

/// Why a container was not created. Its disks are removed from the VM again, or the log says that
/// they are not.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The container's specification cannot be used.
    #[error(transparent)]
    Spec(#[from] OciError),
    /// The guest's agent does not support a part of the request.
    #[error("{0} is not supported by this guest's agent")]
    Unsupported(&'static str),
    /// A volume cannot be provided.
    #[error(transparent)]
    Volume(#[from] VolumeError),
    /// The VMM refused or did not answer.
    #[error("{action} failed")]
    Vm {
        /// What the VMM should do, as in "Attaching a root disk".
        action: &'static str,
        /// What the VMM answered.
        #[source]
        source: hypervisors::Error,
    },
    /// The guest refused or did not answer.
    #[error("{action} failed")]
    Agent {
        /// What the guest should do, as in "Creating the container".
        action: &'static str,
        /// What the agent answered.
        #[source]
        source: agent_client::Error,
    },
}

impl Error {
    /// The agent's error, if this is one.
    pub(crate) fn of_agent(&self) -> Option<&agent_client::Error> {
        match self {
            Self::Agent { source, .. } => Some(source),
            _ => None,
        }
    }
}

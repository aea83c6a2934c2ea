//! What can go wrong while a container is made in the guest.

use oci::OciError;
use volumes::VolumeError;

/// A container that was not made. Its disks are out of the VM again, or the log says that they are
/// not.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The container's specification cannot be used.
    #[error(transparent)]
    Spec(#[from] OciError),
    /// The guest's agent cannot do it.
    #[error("{0} is not supported by this guest's agent")]
    Unsupported(&'static str),
    /// A volume cannot be had.
    #[error(transparent)]
    Volume(#[from] VolumeError),
    /// The monitor refused or did not answer.
    #[error("{action} failed")]
    Vm {
        /// What was asked of the monitor.
        action: &'static str,
        /// The monitor's words.
        #[source]
        source: hypervisors::Error,
    },
    /// The guest refused or did not answer.
    #[error("{action} failed")]
    Agent {
        /// What was asked of the guest.
        action: &'static str,
        /// The agent's words.
        #[source]
        source: agent_client::Error,
    },
}

impl Error {
    /// What the agent said, if it is that.
    pub(crate) fn of_agent(&self) -> Option<&agent_client::Error> {
        match self {
            Self::Agent { source, .. } => Some(source),
            _ => None,
        }
    }
}

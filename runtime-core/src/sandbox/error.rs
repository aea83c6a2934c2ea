//! What can go wrong with a sandbox and its processes.

use std::{io, path::PathBuf};

use crate::{
    io::InvalidStdio,
    oci::OciError,
    process::{Phase, TaskId, policy::Verb},
    resources::ResizeError,
    volumes::VolumeError,
};

/// A request that was not fulfilled. Unless a variant says otherwise, nothing has changed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// No such container or exec.
    #[error("The {0} was not found")]
    NotFound(TaskId),
    /// The name is taken.
    #[error("The {0} exists already")]
    AlreadyExists(TaskId),
    /// The request does not fit the process's phase.
    #[error("The {task} cannot be {verb}: it is {phase}")]
    WrongPhase {
        /// Which process.
        task: TaskId,
        /// What was asked.
        verb: Verb,
        /// Where it is in its life.
        phase: Phase,
    },
    /// There is no process to signal: not started yet, or ended already.
    #[error("The {task} has no process, it is {phase}: process not found")]
    NoProcess {
        /// Which process.
        task: TaskId,
        /// Where it is in its life.
        phase: Phase,
    },
    /// The VM has ended or is about to.
    #[error("The sandbox has ended: {0}")]
    Ended(String),
    /// The guest refused or did not answer.
    #[error("{action} failed")]
    Agent {
        /// What was asked of the guest.
        action: &'static str,
        /// The agent's words.
        #[source]
        source: agent_client::Error,
    },
    /// The guest's agent cannot do it.
    #[error("{0} is not supported by this guest's agent")]
    Unsupported(&'static str),
    /// The monitor refused or did not answer.
    #[error("{action} failed")]
    Vm {
        /// What was asked of the monitor.
        action: &'static str,
        /// The monitor's words.
        #[source]
        source: hypervisors::Error,
    },
    /// The VM is too small for what was asked for.
    #[error(transparent)]
    Resize(#[from] ResizeError),
    /// The container's specification cannot be used.
    #[error(transparent)]
    Spec(#[from] OciError),
    /// A volume cannot be had.
    #[error(transparent)]
    Volume(#[from] VolumeError),
    /// A standard stream's name cannot be used.
    #[error(transparent)]
    Stdio(#[from] InvalidStdio),
    /// A standard stream could not be opened.
    #[error("Opening the standard stream {path} failed")]
    Stream {
        /// The fifo or file.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
}

impl Error {
    /// Whether the guest did not say what became of a request.
    pub(crate) fn is_unanswered(&self) -> bool {
        matches!(
            self,
            Self::Agent {
                source: agent_client::Error::Timeout { .. },
                ..
            }
        )
    }
}

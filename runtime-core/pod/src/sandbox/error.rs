//! What can go wrong with a sandbox and its processes.

use std::{io, path::PathBuf};

use resources::ResizeError;

use crate::{
    container,
    io::InvalidStdio,
    process::{Phase, TaskId, policy::Verb},
};

/// A request that was not fulfilled. Unless a variant says otherwise, nothing has changed.
#[derive(Debug, thiserror::Error)]
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
    /// The VM is too small for what was asked for.
    #[error(transparent)]
    Resize(#[from] ResizeError),
    /// The container was not made.
    #[error(transparent)]
    Container(#[from] container::Error),
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
    /// What the agent said, if it is that.
    pub(super) fn of_agent(&self) -> Option<&agent_client::Error> {
        match self {
            Self::Agent { source, .. } => Some(source),
            Self::Container(error) => error.of_agent(),
            _ => None,
        }
    }

    /// Whether the guest did not say what became of a request.
    pub(super) fn is_unanswered(&self) -> bool {
        matches!(self.of_agent(), Some(agent_client::Error::Timeout { .. }))
    }
}

//! Errors of requests to a sandbox and its processes.

use std::{io, path::PathBuf};

use resources::ResizeError;

use crate::{
    container,
    io::InvalidStdio,
    process::{Phase, TaskId, policy::Verb},
};

/// Why a request failed. Unless a variant says something else, nothing has changed.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// No such container or exec.
    #[error("The {0} was not found")]
    NotFound(TaskId),
    /// The id is taken.
    #[error("The {0} already exists")]
    AlreadyExists(TaskId),
    /// The request is not possible in the process's phase.
    #[error("The {task} cannot be {verb}: it is {phase}")]
    WrongPhase {
        /// The process that was meant.
        task: TaskId,
        /// What was asked for.
        verb: Verb,
        /// The present phase of the process.
        phase: Phase,
    },
    /// There is no process to signal: not started yet, or ended already.
    #[error("The {task} has no process, it is {phase}: process not found")]
    NoProcess {
        /// The process that was meant.
        task: TaskId,
        /// The present phase of the process.
        phase: Phase,
    },
    /// The VM has ended or is about to.
    #[error("The sandbox has ended: {0}")]
    Ended(String),
    /// The guest refused or did not answer.
    #[error("{action} failed")]
    Agent {
        /// What the guest should do, as in "Starting the process".
        action: &'static str,
        /// What the agent answered.
        #[source]
        source: agent_client::Error,
    },
    /// The VM is too small for what was asked for.
    #[error(transparent)]
    Resize(#[from] ResizeError),
    /// The container was not created.
    #[error(transparent)]
    Container(#[from] container::Error),
    /// A standard stream's name cannot be used.
    #[error(transparent)]
    Stdio(#[from] InvalidStdio),
    /// A standard stream could not be opened.
    #[error("Opening the standard stream {path} failed")]
    Stream {
        /// Path of the fifo or file.
        path: PathBuf,
        /// The error of the system call.
        #[source]
        source: io::Error,
    },
}

impl Error {
    /// The agent's error, if this is one.
    pub(super) fn of_agent(&self) -> Option<&agent_client::Error> {
        match self {
            Self::Agent { source, .. } => Some(source),
            Self::Container(error) => error.of_agent(),
            _ => None,
        }
    }

    /// Whether it is not known if the guest has done what was asked.
    pub(super) fn is_unanswered(&self) -> bool {
        matches!(self.of_agent(), Some(agent_client::Error::Timeout { .. }))
    }
}

//! Requests to a sandbox's task.

use agent_client::agent::StatsContainerResponse;
use oci_spec::runtime::LinuxResources;
use std::path::PathBuf;
use tokio::sync::{oneshot, watch};

use super::Error;
use crate::{
    container::{CreatePhases, NewContainer},
    io::Stdio,
    process::{Exit, NewExec, Phase, TaskId, policy::Verb},
};

/// Channel for an answer. That the client is gone is no error.
pub(crate) type Reply<T> = oneshot::Sender<Result<T, Error>>;

/// One entry of a sandbox's queue.
#[derive(Debug)]
pub(crate) enum Request {
    /// Create a container, without starting it.
    Create(Box<NewContainer>, Reply<CreatePhases>),
    /// A request for one process.
    Task(TaskId, Action),
    /// A signal for a container's init and for its running execs.
    SignalAll(String, u32, Reply<()>),
    /// The number of containers.
    Count(oneshot::Sender<usize>),
    /// End the VM. There is no answer: the end is published.
    Stop,
}

/// A request for one process.
#[derive(Debug)]
pub(crate) enum Action {
    State(Reply<TaskState>),
    Wait(Reply<watch::Receiver<Option<Exit>>>),
    Start(Reply<()>),
    AddExec(Box<NewExec>, Reply<()>),
    Signal(u32, Reply<()>),
    Pause(Reply<()>),
    Resume(Reply<()>),
    Update(Box<LinuxResources>, Reply<()>),
    Stats(Reply<StatsContainerResponse>),
    Resize {
        columns: u32,
        rows: u32,
        reply: Reply<()>,
    },
    CloseStdin(Reply<()>),
    Delete(Reply<Exit>),
}

/// A process as a client sees it.
#[derive(Debug, Clone)]
pub struct TaskState {
    /// The present phase of the process.
    pub phase: Phase,
    /// Path of its container's bundle.
    pub bundle: PathBuf,
    /// The names of its standard streams.
    pub stdio: Stdio,
    /// How it ended, if it has.
    pub exit: Option<Exit>,
}

pub(crate) const SIGKILL: u32 = 9;
pub(crate) const SIGTERM: u32 = 15;

impl Action {
    /// The verb by which the policy decides. `None` for a request that is never refused.
    pub(crate) fn verb(&self) -> Option<Verb> {
        Some(match self {
            Self::State(_) | Self::Wait(_) => return None,
            Self::Start(_) => Verb::Start,
            Self::AddExec(..) => Verb::AddExec,
            Self::Signal(SIGKILL | SIGTERM, _) => Verb::Terminate,
            Self::Signal(..) => Verb::Signal,
            Self::Pause(_) => Verb::Pause,
            Self::Resume(_) => Verb::Resume,
            Self::Update(..) => Verb::Update,
            Self::Stats(_) => Verb::Stats,
            Self::Resize { .. } => Verb::Resize,
            Self::CloseStdin(_) => Verb::CloseStdin,
            Self::Delete(_) => Verb::Delete,
        })
    }

    /// Answers with an error.
    pub(crate) fn refuse(self, error: Error) {
        match self {
            Self::State(reply) => drop(reply.send(Err(error))),
            Self::Wait(reply) => drop(reply.send(Err(error))),
            Self::Stats(reply) => drop(reply.send(Err(error))),
            Self::Delete(reply) => drop(reply.send(Err(error))),
            Self::Start(reply)
            | Self::AddExec(_, reply)
            | Self::Signal(_, reply)
            | Self::Pause(reply)
            | Self::Resume(reply)
            | Self::Update(_, reply)
            | Self::Resize { reply, .. }
            | Self::CloseStdin(reply) => drop(reply.send(Err(error))),
        }
    }

    /// Answers that there is nothing to do. Only requests without a result can be answered so.
    pub(crate) fn already(self) {
        if let Self::Signal(_, reply) | Self::Resize { reply, .. } | Self::CloseStdin(reply) = self
        {
            let _ = reply.send(Ok(()));
        }
    }
}

//! What the sandbox's task stores of a process.

use agent_client::oci;
use tokio::sync::watch;

use super::{Exit, Phase, TaskId};
use crate::io::{Input, InputHold, Outputs, Stdio};

/// A process that is to be added to a container.
#[derive(Debug)]
pub struct NewExec {
    /// Ids of container and exec; `exec` is set.
    pub id: TaskId,
    /// Command, user, environment and limits.
    pub process: oci::Process,
    /// Its standard streams, not open yet.
    pub stdio: Stdio,
}

/// A process, from its record to its deletion.
#[derive(Debug)]
pub(crate) struct Process {
    pub(crate) phase: Phase,
    pub(crate) stdio: Stdio,
    /// What an exec runs, until it is started; `None` for an init.
    pub(crate) spec: Option<oci::Process>,
    /// The open streams, from creation (init) to start.
    pub(crate) streams: Option<(Input, Outputs)>,
    /// Keeps the input open until `CloseIO`.
    pub(crate) hold: Option<InputHold>,
    /// Whether the input was closed before it was opened.
    pub(crate) input_closed: bool,
    /// Terminal size that was requested before the start: columns, rows.
    pub(crate) console: Option<(u32, u32)>,
    /// The exit, for all that wait.
    pub(crate) exit: watch::Sender<Option<Exit>>,
    /// Whether SIGKILL was sent.
    pub(crate) killed: watch::Sender<bool>,
}

impl Process {
    pub(crate) fn new(phase: Phase, stdio: Stdio, spec: Option<oci::Process>) -> Self {
        Self {
            phase,
            stdio,
            spec,
            streams: None,
            hold: None,
            input_closed: false,
            console: None,
            exit: watch::Sender::new(None),
            killed: watch::Sender::new(false),
        }
    }

    /// How it ended, if it has.
    pub(crate) fn exited(&self) -> Option<Exit> {
        *self.exit.borrow()
    }
}

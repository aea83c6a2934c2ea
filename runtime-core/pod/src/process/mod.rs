//! One process in the guest: its ids, its phases and the requests that each accepts, its exit, and
//! the task that watches it.

pub mod policy;
mod record;
mod watch;

use std::{fmt, time::SystemTime};

pub use policy::Phase;
pub use record::NewExec;
pub(crate) use record::Process;
pub(crate) use watch::{Ended, Watch};

use crate::io::GuestProcess;

/// Exit status of a process whose end was not reported, since its VM or its agent was lost.
pub const STATUS_LOST: u32 = 255;

/// Exit status of a process that was killed by SIGKILL.
pub const STATUS_KILLED: u32 = 137;

/// Exit status of a process that was ended by this signal.
pub(crate) fn status_of_signal(signal: u32) -> u32 {
    128 + signal
}

/// A process as containerd names it.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct TaskId {
    /// Id of the container.
    pub container: String,
    /// Id of the exec; `None` for the container's init.
    pub exec: Option<String>,
}

impl TaskId {
    /// Makes one of a request's two ids; an empty `exec` means the container's init.
    #[must_use]
    pub fn new(container: impl Into<String>, exec: impl Into<String>) -> Self {
        let exec = exec.into();
        Self {
            container: container.into(),
            exec: (!exec.is_empty()).then_some(exec),
        }
    }

    /// The ids that the agent uses: an init's exec id is the container's id.
    #[must_use]
    pub fn in_guest(&self) -> GuestProcess {
        GuestProcess {
            container: self.container.clone(),
            exec: self.exec.clone().unwrap_or_else(|| self.container.clone()),
        }
    }
}

impl fmt::Display for TaskId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.exec {
            None => write!(f, "container {}", self.container),
            Some(exec) => write!(f, "exec {exec} of container {}", self.container),
        }
    }
}

/// How a process ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Exit {
    /// Exit code, 128 plus the signal's number, or [`STATUS_LOST`].
    pub status: u32,
    /// When the shim noticed the end.
    pub at: SystemTime,
}

impl Exit {
    /// An exit at the present time.
    #[must_use]
    pub fn now(status: u32) -> Self {
        Self {
            status,
            at: SystemTime::now(),
        }
    }
}

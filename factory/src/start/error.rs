//! Why no VM was started.

use std::time::Duration;

use super::{LimitError, facts::FailedWay, reason::BootReason};

/// A VM that did not start. Nothing of it is left.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum StartError {
    /// The node has too many others to start.
    #[error(transparent)]
    Limit(#[from] LimitError),
    /// The VMM did not make it.
    #[error("The virtual machine was not started")]
    Vmm(#[source] hypervisors::Error),
    /// The VMM ended before the guest's agent answered.
    #[error("The virtual machine ended before its agent answered: {last_words}")]
    Ended {
        /// The VMM's last lines on standard error.
        last_words: String,
    },
    /// The guest came up, but not its agent.
    #[error("The virtual machine was started, but its agent did not answer; it was ended again")]
    Agent(#[source] agent_client::Error),
    /// The guest's agent did not answer in time.
    #[error(
        "The virtual machine was started, but its agent did not answer within {timeout:?}{hint}; it \
         was ended again"
    )]
    Late {
        /// How long it had, on a node that has not too much to do.
        timeout: Duration,
        /// What a guest of another kind would have needed.
        hint: &'static str,
    },
    /// A boot that failed after another way had failed as well.
    #[error("The boot failed too. {before}")]
    AfterAnother {
        /// Why the VM was booted.
        before: BootReason,
        /// The boot's failure.
        #[source]
        error: Box<StartError>,
    },
}

impl StartError {
    /// The failure of a boot, with the way that had failed before it if there was one.
    pub(super) fn after(self, failed: Option<&FailedWay>) -> Self {
        match failed {
            None => self,
            Some(failed) => Self::AfterAnother {
                before: failed.clone().into(),
                error: Box::new(self),
            },
        }
    }
}

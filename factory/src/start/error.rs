//! The errors of a start.

use std::time::Duration;

use super::{LimitError, facts::FailedWay, reason::BootReason};

/// A VM that did not start. Nothing of it is left.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum StartError {
    /// The start limit was not passed in time.
    #[error(transparent)]
    Limit(#[from] LimitError),
    /// The VMM failed to boot it.
    #[error("The virtual machine was not started")]
    Vmm(#[source] hypervisors::Error),
    /// The VMM ended before the guest's agent answered.
    #[error("The virtual machine ended before its agent answered: {last_words}")]
    Ended {
        /// The VMM's last lines on standard error.
        last_words: String,
    },
    /// The VM was booted, but its guest's agent cannot be reached.
    #[error("The virtual machine was started, but its agent did not answer; it was ended again")]
    Agent(#[source] agent_client::Error),
    /// The guest's agent did not answer in time.
    #[error(
        "The virtual machine was started, but its agent did not answer within \
         {timeout:?}{hint}; it was ended again"
    )]
    Late {
        /// The timeout as configured, before the node's load multiplies it.
        timeout: Duration,
        /// What a guest with another agent would need, or nothing.
        hint: &'static str,
    },
    /// The boot failed, and another way had failed before it.
    #[error("{before}; the boot after it failed too")]
    AfterAnother {
        /// The failure of the other way.
        before: BootReason,
        /// The failure of the boot.
        #[source]
        error: Box<StartError>,
    },
}

impl StartError {
    /// The error of a boot, with the way that had failed before it, if there was one.
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

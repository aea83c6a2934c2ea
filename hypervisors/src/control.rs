//! What can go wrong on the control connection to a VMM, and what that says about its process.

use std::time::Duration;

use crate::{Error, VmExit, events::NoEvent, process::Process};

/// Why a request or an event did not come through.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ControlError {
    /// The connection ended before the answer did; the text says how.
    Closed(String),
    /// Something else than the VMM's protocol came; the text says what.
    Invalid(String),
    /// The VMM refused the request.
    Refused {
        /// Name of the request.
        request: &'static str,
        /// Why, in the VMM's own words.
        reason: String,
    },
    /// Nothing came in time.
    Timeout {
        /// What was waited for.
        waited_for: String,
        /// How long it was waited for.
        waited: Duration,
    },
}

impl ControlError {
    /// The error for `event`, which was waited for and did not come.
    pub fn no_event(why: NoEvent, event: &str, waited: Duration) -> Self {
        match why {
            NoEvent::Ended => Self::Closed(String::from("its events have ended")),
            NoEvent::TimedOut => Self::Timeout {
                waited_for: event.to_owned(),
                waited,
            },
        }
    }

    /// The error for the caller. A closed connection means that the process has ended, of which the
    /// caller learns with its last words: they are waited for as long as `grace`.
    pub async fn explain(self, during: &'static str, process: &Process, grace: Duration) -> Error {
        match self {
            Self::Closed(how) => match process.ended_within(grace).await {
                Some(VmExit { last_words, .. }) => Error::Exited { during, last_words },
                None => Error::Protocol(format!("no whole answer to {during}: {how}")),
            },
            Self::Invalid(what) => Error::Protocol(what),
            Self::Refused { request, reason } => Error::Refused {
                request: request.to_owned(),
                reason,
            },
            Self::Timeout { waited_for, waited } => Error::Timeout { waited_for, waited },
        }
    }
}

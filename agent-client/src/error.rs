//! What can go wrong between a host and its guest's agent.

use std::{fmt::Write, io, time::Duration};

use ttrpc::Code;

use crate::MAX_MESSAGE;

/// A result of this crate.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// A call, or a connection, that did not come about.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// No connection to the agent, and no use in waiting for one.
    #[error("Connecting to the agent on {channel} failed")]
    Connect {
        /// The channel, as text.
        channel: String,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// No answer in time. A call may have taken effect all the same.
    #[error("Waited {waited:?} for {waited_for}")]
    Timeout {
        /// What was waited for.
        waited_for: String,
        /// How long.
        waited: Duration,
    },
    /// The agent refused, or failed to do what it was asked.
    #[error("Agent failed {call} ({code:?}): {message}")]
    Rpc {
        /// Name of the call.
        call: &'static str,
        /// The agent's status.
        code: Code,
        /// The agent's words, escaped and cut.
        message: String,
    },
    /// The connection ended before the answer came. The call may have taken effect all the same.
    #[error("Connection to the agent ended during {call}: {reason}")]
    Disconnected {
        /// Name of the call.
        call: &'static str,
        /// What was seen of the end.
        reason: String,
    },
    /// The agent sent more than is accepted. The call has probably taken effect.
    #[error("Agent's answer to {call} has {bytes} bytes, more than the {max} accepted")]
    ReplyTooLarge {
        /// Name of the call.
        call: &'static str,
        /// Length of its content.
        bytes: usize,
        /// What is accepted.
        max: usize,
    },
    /// The agent sent what is no answer to the call.
    #[error("Agent's answer to {call} is invalid: {reason}")]
    InvalidReply {
        /// Name of the call.
        call: &'static str,
        /// What is wrong with it.
        reason: String,
    },
    /// The request is longer than the protocol allows. It was not sent.
    #[error("Request for {call} has {bytes} bytes, more than the {max} allowed")]
    RequestTooLarge {
        /// Name of the call.
        call: &'static str,
        /// Length of its content.
        bytes: usize,
        /// What is allowed.
        max: usize,
    },
}

impl Error {
    /// The status the agent answered with, if it did answer.
    pub fn code(&self) -> Option<Code> {
        match self {
            Self::Rpc { code, .. } => Some(*code),
            _ => None,
        }
    }
}

/// Text of a guest, made fit for a log: printable ASCII and bounded.
pub(crate) fn escape(text: &str) -> String {
    let mut safe = String::new();
    for c in text.chars() {
        if safe.len() >= MAX_MESSAGE {
            safe.push_str("...");
            break;
        }
        if c.is_ascii_graphic() || c == ' ' {
            safe.push(c);
        } else {
            let _infallible = write!(safe, "{}", c.escape_default());
        }
    }
    safe
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn guest_text_cannot_reach_a_terminal_or_fill_a_log() {
        assert_eq!(
            escape("no \x1b[2J\nsuch \u{e9}"),
            "no \\u{1b}[2J\\nsuch \\u{e9}"
        );
        let long = escape(&"\u{1F600}".repeat(100_000));
        assert!(long.len() < MAX_MESSAGE + 20 && long.ends_with("..."));
    }
}

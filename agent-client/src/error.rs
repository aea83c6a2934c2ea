//! What can go wrong between the host and a guest's agent.

use std::{fmt::Write, io, time::Duration};

use ttrpc::Code;

use crate::MAX_MESSAGE;

/// A result of this crate.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// The failure of a connection or of a call.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The connection failed in a way that waiting longer cannot change.
    #[error("Connecting to the agent on {channel} failed")]
    Connect {
        /// The channel as [`Channel`](crate::Channel) displays it.
        channel: String,
        /// The error of the last attempt.
        #[source]
        source: io::Error,
    },
    /// No answer in time. A call may have taken effect all the same.
    #[error("Timed out after {waited:?} waiting for {waited_for}")]
    Timeout {
        /// A noun phrase, such as `the agent's answer to StartContainer`.
        waited_for: String,
        /// How long the answer was waited for.
        waited: Duration,
    },
    /// The agent refused the call, or failed to carry it out.
    #[error("Agent failed {call} ({code:?}): {message}")]
    Rpc {
        /// Name of the call on the wire, as in the other variants.
        call: &'static str,
        /// The status that the agent answered with.
        code: Code,
        /// The agent's message, escaped and cut.
        message: String,
    },
    /// The connection ended before the answer came. The call may have taken effect all the same.
    #[error("Connection to the agent ended during {call}: {reason}")]
    Disconnected {
        /// Name of the call.
        call: &'static str,
        /// The ttrpc client's message, escaped and cut.
        reason: String,
    },
    /// The agent's answer is longer than is accepted. The call has probably taken effect.
    #[error("Agent's answer to {call} has {bytes} bytes, more than the {max} accepted")]
    ReplyTooLarge {
        /// Name of the call.
        call: &'static str,
        /// Length of the answer's content.
        bytes: usize,
        /// Longest content that is accepted.
        max: usize,
    },
    /// The agent's answer cannot be decoded, or contradicts the request.
    #[error("Agent's answer to {call} is invalid: {reason}")]
    InvalidReply {
        /// Name of the call.
        call: &'static str,
        /// What is wrong with the answer, escaped and cut.
        reason: String,
    },
    /// The request is longer than the protocol allows. It was not sent.
    #[error("Request for {call} has {bytes} bytes, more than the {max} allowed")]
    RequestTooLarge {
        /// Name of the call.
        call: &'static str,
        /// Length of the request's content.
        bytes: usize,
        /// Longest content that is allowed.
        max: usize,
    },
}

impl Error {
    /// The status that the agent answered with, if this is an answer of the agent.
    pub fn code(&self) -> Option<Code> {
        match self {
            Self::Rpc { code, .. } => Some(*code),
            _ => None,
        }
    }
}

/// A text of the guest, made safe for a log: printable ASCII, and cut at [`MAX_MESSAGE`].
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

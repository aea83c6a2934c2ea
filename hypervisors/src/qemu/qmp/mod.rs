//! A typed client for the QEMU Machine Protocol: line-delimited JSON over one stream socket
//! (<https://www.qemu.org/docs/master/interop/qmp-spec.html>).

mod client;
pub mod command;
mod line;
mod message;
mod wire;

pub use client::Client;
pub use command::Command;
pub use message::{Event, Version};

use std::time::Duration;

/// Why a command or an event did not come through.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Failure {
    /// QEMU closed the connection.
    #[error("QEMU closed its control connection")]
    Closed,
    /// The connection was given up because of what came over it.
    #[error("{0}")]
    Invalid(String),
    /// QEMU refused a command.
    #[error("QEMU refused {command}: {reason}")]
    Refused {
        /// The command's name.
        command: &'static str,
        /// QEMU's words.
        reason: String,
    },
    /// Nothing came in time.
    #[error("Waited {waited:?} for {waited_for}")]
    Timeout {
        /// What was waited for.
        waited_for: String,
        /// How long.
        waited: Duration,
    },
}

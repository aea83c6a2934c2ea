#![forbid(unsafe_code)]
//! The guest agent's API: wire types, and a typed client over any channel.
//!
//! The guest runs an agent that starts processes and mounts things on the host's behalf. It speaks
//! ttrpc; messages and services are those of the stock kata-agent ([`agent`], [`oci`], [`types`],
//! [`csi`], [`health`]; the stubs a server implements are in [`agent_ttrpc`] and
//! [`health_ttrpc`]), so a stock guest image works too.
//!
//! ```no_run
//! # async fn f() -> Result<(), agent_client::Error> {
//! use std::time::Duration;
//! use agent_client::{Agent, Channel, agent};
//!
//! let channel = Channel::Serial("/run/vm/agent.sock".into());
//! let agent = Agent::connect(&channel, Duration::from_secs(30)).await?;
//! agent.check().await?;
//! let mut request = agent::StartContainerRequest::new();
//! request.container_id = "web".into();
//! agent.start_container(request).await?;
//! # Ok(()) }
//! ```
//!
//! # Where to look
//!
//! * [`Agent`]: the client. One method for each call, a deadline for each ([`Deadlines`]).
//! * [`Channel`]: the ways to a guest, and how each one waits for it.
//! * [`serial`]: sessions over a virtio-serial port, for both ends.
//! * [`Error`]: every failure names its call.
//!
//! # What a guest can do to its host
//!
//! The guest is not trusted. A frame that is no answer, or longer than [`MAX_FRAME`], ends the
//! connection before its content is read. The content of an answer is bounded again for each call
//! before it is decoded: [`MAX_REPLY`] bytes where it has structure, [`MAX_DATA`] where it is one
//! string. An answer that no call waits for is dropped. So a connection holds at most one frame,
//! and one for each call in flight. Text in errors is escaped and cut at [`MAX_MESSAGE`] characters.

mod channel;
mod client;
mod error;
mod frames;
pub mod serial;

#[allow(
    missing_docs,
    clippy::all,
    clippy::pedantic,
    clippy::restriction,
    unused_results
)]
mod generated {
    include!(concat!(env!("OUT_DIR"), "/protocol.rs"));
}

pub use channel::Channel;
pub use client::{Agent, Deadlines};
pub use error::{Error, Result};
pub use generated::*;
/// A call's status as the agent gave it.
pub use ttrpc::Code;

/// Port of the agent on a vsock.
pub const AGENT_PORT: u32 = 1024;
/// Name of the agent's virtio-serial port.
pub const SERIAL_PORT_NAME: &str = "imprint.agent";
/// Name of the virtio-serial port on which the agent writes its log.
pub const LOG_PORT_NAME: &str = "imprint.log";

/// What an agent says among its `extra_features` that finds disks and network interfaces which were
/// there before it, by their places. The stock agent knows of the disks that it saw being plugged in, and
/// looks for an interface by its address.
pub const FINDS_PRESENT_DEVICES: &str = "finds-present-devices";

/// What an agent says among its `extra_features` that lets a container join the process namespace of
/// another, see [`PID_NAMESPACE_OF`].
pub const JOINS_PID_NAMESPACES: &str = "joins-pid-namespaces";

/// The annotation of a container that names the one whose process namespace it is to join.
pub const PID_NAMESPACE_OF: &str = "imprint.agent.pid-namespace-of";

/// Longest frame that is accepted from a guest, in bytes; ttrpc itself would allow 4 MiB.
pub const MAX_FRAME: usize = MAX_DATA + MAX_REPLY;
/// Longest content of an answer that is one string, in bytes.
pub const MAX_DATA: usize = 1 << 20;
/// Longest content of an answer that has structure, in bytes.
pub const MAX_REPLY: usize = 64 << 10;
/// Longest content of a request, in bytes. Data for a file is to be cut into pieces of 1 MiB.
pub const MAX_REQUEST: usize = ttrpc::proto::MESSAGE_LENGTH_MAX - (4 << 10);
/// Longest text of an agent that an error repeats, in characters.
pub const MAX_MESSAGE: usize = 1024;

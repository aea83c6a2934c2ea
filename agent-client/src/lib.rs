#![forbid(unsafe_code)]
//! The guest agent's API: wire types, and a typed client over any channel.
//!
//! The guest runs an agent that starts processes and mounts things on the host's behalf. It speaks
//! ttrpc. Messages and services are those of the stock kata-agent ([`agent`], [`oci`], [`types`],
//! [`csi`], [`health`]), so a stock guest image works, too. A server implements the traits in
//! [`agent_ttrpc`] and [`health_ttrpc`].
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
//! * [`Channel`]: how a guest is reached, and how connecting waits for it.
//! * [`serial`]: sessions over a virtio-serial port, for host and guest.
//! * [`Error`]: every error names its call.
//!
//! # What a guest can do to its host
//!
//! The guest is not trusted. A frame that is not an answer, or that is longer than [`MAX_FRAME`],
//! ends the connection before its content is read. Before an answer is decoded, its length is
//! checked again: [`MAX_REPLY`] bytes for a structure, [`MAX_DATA`] for one string. An answer that
//! no call waits for is discarded. So a connection holds at most one frame, and one for each call
//! in progress. Text in errors is escaped and cut at [`MAX_MESSAGE`] characters.

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
/// The status of a call that the agent has refused or failed.
pub use ttrpc::Code;

/// Port of the agent on a vsock.
pub const AGENT_PORT: u32 = 1024;
/// Name of the agent's virtio-serial port.
pub const SERIAL_PORT_NAME: &str = "imprint.agent";
/// Name of the virtio-serial port on which the agent writes its log.
pub const LOG_PORT_NAME: &str = "imprint.log";

/// The name of a feature, in `extra_features` of the agent's details: the agent finds disks and
/// network interfaces by their PCI paths, even if they were there before it. The stock agent knows
/// only disks that were hot-plugged later, and finds an interface by its MAC address.
pub const FINDS_PRESENT_DEVICES: &str = "finds-present-devices";

/// The name of a feature, in `extra_features` of the agent's details: a container can join the pid
/// namespace of another container, see [`PID_NAMESPACE_OF`].
pub const JOINS_PID_NAMESPACES: &str = "joins-pid-namespaces";

/// The annotation with the identifier of the container whose pid namespace a container joins.
pub const PID_NAMESPACE_OF: &str = "imprint.agent.pid-namespace-of";

/// Longest frame that is accepted from a guest, in bytes. ttrpc itself allows 4 MiB.
pub const MAX_FRAME: usize = MAX_DATA + MAX_REPLY;
/// Longest content of an answer that is one string, in bytes.
pub const MAX_DATA: usize = 1 << 20;
/// Longest content of an answer that is a structure, in bytes.
pub const MAX_REPLY: usize = 64 << 10;
/// Longest content of a request, in bytes. The data of a file has to be cut into pieces of 1 MiB.
pub const MAX_REQUEST: usize = ttrpc::proto::MESSAGE_LENGTH_MAX - (4 << 10);
/// Longest text of an agent in an error, in characters.
pub const MAX_MESSAGE: usize = 1024;

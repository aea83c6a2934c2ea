//! Sessions over one byte stream that outlives both of its ends.
//!
//! A virtio-serial port is a single stream: it does not tell the guest where one host connection
//! ends and the next begins, and what one left in the queues is read by the other. After a restore
//! the guest even believes that it still talks to the host process that saved it. This layer cuts
//! the stream into sessions, so that whoever connects starts clean.
//!
//! # On the wire
//!
//! Both directions are byte-stuffed. [`MARK`] (0x7E) only ever begins a session mark; inside data
//! and nonces, 0x7E and 0x7D are sent as [`ESCAPE`] (0x7D) and the byte with bit 5 flipped.
//!
//! 1. The host sends the mark and 16 fresh bytes, the nonce.
//! 2. The guest that reads a complete mark, at any point of the stream, ends the session in
//!    progress, answers with the same mark and nonce, and begins a new session.
//! 3. The host discards all it reads until that answer. What follows it, both ways, is the session.
//!
//! A mark that was cut short is harmless: the next 0x7E begins another one, also right after an
//! escape. A guest that marks in the middle of a session has lost it; the host sees
//! `ConnectionReset`.
//!
//! # Memory
//!
//! Each end holds a fixed number of buffers of at most [`BUFFER`] bytes (twice that where data is
//! encoded), whatever the peer sends and however fast.
//!
//! # Guest
//!
//! [`Port`] makes a virtio port readable without spinning while no host is connected;
//! [`sessions`] turns it into what [`ttrpc::asynchronous::transport::Listener::new`] takes:
//!
//! ```no_run
//! # fn f(file: std::fs::File) -> std::io::Result<()> {
//! use agent_client::serial;
//! // Opened with O_RDWR | O_NONBLOCK | O_CLOEXEC.
//! let port = serial::Port::new(file.into())?;
//! let listener = ttrpc::asynchronous::transport::Listener::new(serial::sessions(port));
//! # Ok(()) }
//! ```

mod codec;
mod guest;
mod host;
mod port;

pub use guest::{Sessions, sessions};
pub use host::{HostSession, open};
pub use port::Port;

/// Begins a session mark; appears nowhere else in an encoded stream.
pub const MARK: u8 = 0x7e;
/// Precedes a byte that was changed so as not to be read as [`MARK`] or [`ESCAPE`].
pub const ESCAPE: u8 = 0x7d;
/// Length of a nonce, in bytes, before stuffing.
pub const NONCE_LEN: usize = 16;
/// Size of each buffer, in bytes.
pub const BUFFER: usize = 64 << 10;

/// What tells one session from another.
pub type Nonce = [u8; NONCE_LEN];

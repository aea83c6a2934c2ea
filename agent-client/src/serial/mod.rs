//! Sessions over a byte stream that outlives the connections to it.
//!
//! A virtio-serial port is a single stream. It does not show the guest where one connection of the
//! host ends and the next begins, and data that one leaves in the queues is read by the next. After
//! a restore the guest still assumes a connection to the process that saved it. This layer divides
//! the stream into sessions, so that each connection begins without data of others.
//!
//! # On the wire
//!
//! Both directions are byte-stuffed. [`MARK`] (0x7E) only occurs at the beginning of a session
//! mark. In data and nonces, 0x7E and 0x7D are sent as [`ESCAPE`] (0x7D) and the byte with bit 5
//! flipped.
//!
//! 1. The host sends the mark and 16 fresh bytes, the nonce.
//! 2. When the guest has read a complete mark, at any point of the stream, it ends the session in
//!    progress, answers with the same mark and nonce, and begins a new session.
//! 3. The host discards everything until that answer. What follows it, both ways, is the session.
//!
//! A mark that is cut off does no harm: the next 0x7E begins another one, even after an escape. A
//! mark of the guest within a session means that the guest has lost the session; the host then gets
//! `ConnectionReset`.
//!
//! # Memory
//!
//! Each side has a fixed number of buffers of at most [`BUFFER`] bytes (twice that for encoded
//! data), whatever the other side sends.
//!
//! # Guest
//!
//! Reading from a [`Port`] is pending while no host is connected. [`sessions`] makes of it what
//! [`ttrpc::asynchronous::transport::Listener::new`] takes:
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

/// Begins a session mark. Occurs nowhere else in an encoded stream.
pub const MARK: u8 = 0x7e;
/// Precedes an encoded [`MARK`] or [`ESCAPE`].
pub const ESCAPE: u8 = 0x7d;
/// Length of a nonce in bytes, before encoding.
pub const NONCE_LEN: usize = 16;
/// Size of each buffer, in bytes.
pub const BUFFER: usize = 64 << 10;

/// Random bytes that identify a session.
pub type Nonce = [u8; NONCE_LEN];

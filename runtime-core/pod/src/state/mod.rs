//! What a sandbox leaves on disk, so that whoever comes after a killed shim can undo it.
//!
//! ```text
//! <run root>/s/<sandbox id>/            0700
//!                           state.json  0600, replaced as a whole
//!                           vm/         0700, the monitor's sockets
//! ```
//!
//! A thing is recorded before it is made, so the record may name what never came to be, but
//! nothing exists that it does not name. The one exception is the monitor's pid, known only after
//! the monitor runs: [`cleanup`] finds such a monitor by the sandbox's directory in its arguments.

mod cleanup;
mod dir;
mod error;
mod monitor;
mod mounts;
mod record;

pub use cleanup::{MonitorOutcome, Report, cleanup};
pub use dir::{MANAGEMENT_SOCKET, SandboxDir};
pub use error::StateError;
pub use record::{ContainerRecord, DiskRecord, NetworkRecord, ProcessRecord, SandboxState};

#[cfg(test)]
mod tests;

//! The state of a sandbox on disk, by which it can be cleaned up after its shim was killed.
//!
//! ```text
//! <run root>/s/<sandbox id>/            0700
//!                           state.json  0600, replaced as a whole
//!                           vm/         0700, the VMM's sockets
//! ```
//!
//! Everything is recorded before it is made. So the record may name something that was not made,
//! but nothing exists that it does not name. The only exception is the VMM's pid, which is known
//! only when the VMM runs: [`cleanup`] finds a VMM without a record by the sandbox's directory in
//! its arguments.

mod cleanup;
mod dir;
mod error;
mod mounts;
mod record;
mod vmm;

pub use cleanup::{Report, VmmOutcome, cleanup};
pub use dir::{MANAGEMENT_SOCKET, SandboxDir};
pub use error::StateError;
pub use record::{ContainerRecord, DiskRecord, NetworkRecord, ProcessRecord, SandboxState};

#[cfg(test)]
mod tests;

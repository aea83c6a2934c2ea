//! System work that everything on the host needs. It knows nothing of VMs and pods.

#![forbid(unsafe_code)]

pub mod directory;
pub mod mountinfo;
pub mod process;
pub mod socket;

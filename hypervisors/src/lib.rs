#![deny(unsafe_code)]
//! One small contract for virtual machine monitors, and its implementations.
//!
//! The crate knows nothing of templates or pods: it boots, pauses, saves, restores and resumes a
//! VM, and plugs devices into it. What those steps mean is the caller's business.

mod check;
mod choice;
pub mod clh;
mod contract;
mod device;
mod error;
mod host_cpu;
mod kept;
mod kernel;
mod last_words;
mod loop_device;
mod netns;
mod process;
pub mod qemu;
mod rights;
#[cfg(test)]
mod sample;
mod size;
mod slots;
mod spec;

pub use check::{SOCKET_NAME_LIMIT, SOCKET_PATH_LIMIT};
pub use choice::MonitorConfig;
pub use contract::{
    AgentChannel, Capabilities, Counters, Hypervisor, Identity, Vm, VmExit, VmmProcess,
};
pub use error::{Error, Result};
pub use size::VmSize;
pub use spec::{
    DiskSlots, DiskSpec, GuestRoot, KernelSpec, MemoryBacking, MemorySpec, NetSpec, NicSpec,
    PciPath, VmSpec,
};

#![deny(unsafe_code)]
//! One small contract for virtual machine monitors (VMMs), and its implementations.
//!
//! The crate knows nothing of templates or pods: it boots, pauses, saves, restores and resumes a
//! VM, and attaches devices to it. What those steps mean is the caller's business.

mod check;
pub mod clh;
mod contract;
mod control;
mod device;
mod disk_slots;
mod error;
mod events;
mod fd_passing;
mod host_cpu;
mod kernel;
mod last_words;
mod loop_device;
mod netns;
mod probe_cache;
mod process;
pub mod qemu;
#[cfg(test)]
mod sample;
mod spec;
mod vmm_config;

pub use check::{SOCKET_NAME_LIMIT, SOCKET_PATH_LIMIT};
pub use contract::{
    AgentChannel, Capabilities, Hypervisor, Identity, SavedForm, Vm, VmExit, VmmProcess,
};
pub use error::{Error, Result};
pub use spec::{
    DiskSlots, DiskSpec, GuestRoot, KernelSpec, MemoryBacking, MemorySpec, NetSpec, NicSpec,
    PciPath, VmSpec,
};
pub use vmm_config::{VmmConfig, VmmKind};

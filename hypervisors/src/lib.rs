#![forbid(unsafe_code)]
//! One small contract for VMMs, and its implementations.
//!
//! The crate knows nothing of templates or pods: it boots, pauses, saves, restores and resumes a
//! VM, and attaches devices to it. What those steps mean is the caller's business.
//!
//! Modules refer to those below them only:
//!
//! ```text
//!   vmm_kind, vmm_config   which VMM is used, and its choices
//!   qemu        clh        the two implementations; neither knows the other
//!   control                what is common to their connections
//!   check  process         a specification is checked, a process is run
//!   disk_slots  events  probe_cache  kernel  device  ...
//!   contract               the traits that callers use
//!   size  spec  machine  error    plain values
//! ```

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
mod machine;
mod netns;
mod probe_cache;
mod process;
pub mod qemu;
#[cfg(test)]
mod sample;
mod size;
mod spec;
mod vmm_config;
mod vmm_kind;

pub use check::{SOCKET_NAME_LIMIT, SOCKET_PATH_LIMIT};
pub use contract::{AgentChannel, Capabilities, Hypervisor, Identity, Vm, VmExit, VmmProcess};
pub use error::{Error, Result};
pub use machine::Machine;
pub use size::VmSize;
pub use spec::{
    DiskSlots, DiskSpec, GuestRoot, KernelSpec, MemoryBacking, MemorySpec, NetSpec, NicSpec,
    PciPath, VmSpec,
};
pub use vmm_config::VmmConfig;
pub use vmm_kind::VmmKind;

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;

    #[test]
    fn no_socket_has_a_longer_name_than_is_reckoned_with() {
        let dir = Path::new("/x");
        let qemu = qemu::command_line::Sockets::within(dir);
        let clh = clh::paths::Sockets::within(dir);
        let all = [qemu.agent, qemu.log, clh.api, clh.vsock];
        let lengths = all.map(|path| path.file_name().map_or(0, std::ffi::OsStr::len));
        assert_eq!(lengths.iter().max(), Some(&SOCKET_NAME_LIMIT));
    }
}

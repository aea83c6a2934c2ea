#![deny(unsafe_code)]
//! System work that everything on the host needs, and the only crate there with `unsafe`.
//!
//! It is a leaf: it depends on none of the project's crates and knows nothing of VMs and pods. Each
//! module has one purpose; those that call the kernel past a safe wrapper say so in their first
//! line, and give the reason at each block.
//!
//! | Purpose | Modules |
//! |---|---|
//! | Files and directories | [`file`], [`directory`], [`socket`], [`mounts`], [`erofs`] |
//! | Processes and memory | [`process`], [`memory`] |
//! | Devices and the kernel | [`loop_device`], [`tap`], [`bpf`], [`readiness`] |
//! | Values | [`encoding`], [`random`], [`time`], [`sync`], [`error`] |

pub mod bpf;
pub mod directory;
pub mod encoding;
pub mod erofs;
pub mod error;
pub mod file;
pub mod loop_device;
pub mod memory;
pub mod mounts;
pub mod process;
pub mod random;
pub mod readiness;
pub mod socket;
pub mod sync;
pub mod tap;
pub mod time;

/// The result of a system call that returns a number: -1 stands for the error in `errno`.
fn answer<N: Copy + PartialEq + From<i8>>(done: N) -> std::io::Result<N> {
    if done == N::from(-1) {
        Err(std::io::Error::last_os_error())
    } else {
        Ok(done)
    }
}

//! bpf(2), as far as device rules need it.

use std::{
    io,
    os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd},
};

use nix::errno::Errno;

/// One instruction of a BPF program (`struct bpf_insn`, linux/bpf.h).
#[repr(C)]
#[derive(Debug, Clone, Copy)]
pub struct Instruction {
    pub code: u8,
    /// The destination register in the lower four bits, the source register in the upper four.
    pub registers: u8,
    pub offset: i16,
    pub immediate: i32,
}

/// The head of `union bpf_attr` for `BPF_PROG_LOAD`.
#[repr(C)]
struct LoadAttributes {
    program_type: u32,
    instruction_count: u32,
    instructions: u64,
    license: u64,
}

/// The head of `union bpf_attr` for `BPF_PROG_ATTACH`.
#[repr(C)]
struct AttachAttributes {
    target: u32,
    program: u32,
    attach_type: u32,
    flags: u32,
}

// From linux/bpf.h, in the order of their use.
const BPF_PROG_LOAD: libc::c_long = 5;
const BPF_PROG_TYPE_CGROUP_DEVICE: u32 = 15;
const BPF_PROG_ATTACH: libc::c_long = 8;
const BPF_CGROUP_DEVICE: u32 = 6;
const BPF_F_ALLOW_MULTI: u32 = 2;

/// Loads a program that decides which devices the processes of a cgroup may use.
///
/// # Errors
///
/// Those of bpf(2).
pub fn load_device_program(instructions: &[Instruction]) -> io::Result<OwnedFd> {
    let attributes = LoadAttributes {
        program_type: BPF_PROG_TYPE_CGROUP_DEVICE,
        instruction_count: u32::try_from(instructions.len()).map_err(io::Error::other)?,
        instructions: instructions.as_ptr().addr() as u64,
        license: c"Apache-2.0".as_ptr().addr() as u64,
    };
    let descriptor = bpf(BPF_PROG_LOAD, &attributes)?;
    let descriptor = i32::try_from(descriptor).map_err(io::Error::other)?;
    // SAFETY: the kernel has just made this descriptor, and nothing else uses it.
    Ok(unsafe { OwnedFd::from_raw_fd(descriptor) })
}

/// Attaches such a program to a cgroup of version 2, given as its open directory. The program
/// stays attached as long as the cgroup exists.
///
/// # Errors
///
/// Those of bpf(2).
pub fn attach_device_program(program: BorrowedFd<'_>, cgroup: BorrowedFd<'_>) -> io::Result<()> {
    let number = |descriptor: BorrowedFd<'_>| u32::try_from(descriptor.as_raw_fd());
    let attributes = AttachAttributes {
        target: number(cgroup).map_err(io::Error::other)?,
        program: number(program).map_err(io::Error::other)?,
        attach_type: BPF_CGROUP_DEVICE,
        flags: BPF_F_ALLOW_MULTI,
    };
    bpf(BPF_PROG_ATTACH, &attributes).map(drop)
}

fn bpf<T>(command: libc::c_long, attributes: &T) -> io::Result<libc::c_long> {
    let (pointer, size) = (std::ptr::from_ref(attributes), size_of::<T>());
    // SAFETY: the kernel reads `size` bytes of a structure that outlives the call, and takes the
    // rest of its own, larger structure as zeroes (bpf(2)). The addresses in the structure are of
    // slices and literals that the callers borrow for the call.
    let result = unsafe { libc::syscall(libc::SYS_bpf, command, pointer, size) };
    Ok(Errno::result(result)?)
}

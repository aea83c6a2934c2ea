//! System calls that no safe wrapper covers: any signal number, any exit status, terminals, device rules.
#![allow(unsafe_code)]

use std::{
    io,
    os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd},
};

use nix::{
    errno::Errno,
    sys::socket::{SockFlag, accept4},
};
use tokio::io::{Interest, unix::AsyncFd};

mod ioctl {
    nix::ioctl_write_ptr_bad!(set_window_size, libc::TIOCSWINSZ, libc::winsize);
    // TIOCGPTPEER takes flags by value.
    nix::ioctl_write_int_bad!(other_end, libc::TIOCGPTPEER);
    nix::ioctl_write_ptr_bad!(set_hardware_address, libc::SIOCSIFHWADDR, libc::ifreq);
    // BLKFLSBUF (Linux, include/uapi/linux/fs.h).
    nix::ioctl_none!(drop_buffers, 0x12, 97);
}

/// An instruction of the kernel's virtual machine (linux/bpf.h).
#[repr(C)]
#[derive(Debug, Clone, Copy)]
pub struct Instruction {
    pub code: u8,
    /// Destination in the lower half, source in the upper.
    pub registers: u8,
    pub offset: i16,
    pub immediate: i32,
}

/// The head of the kernel's `union bpf_attr` for a program to load, and for one to attach.
#[repr(C)]
struct NewProgram {
    kind: u32,
    length: u32,
    instructions: u64,
    license: u64,
}

#[repr(C)]
struct Attachment {
    target: u32,
    program: u32,
    kind: u32,
    flags: u32,
}

// linux/bpf.h: commands, a kind of program, of attachment, and that others may be attached as well.
const PROGRAM_LOAD: libc::c_long = 5;
const PROGRAM_ATTACH: libc::c_long = 8;
const CGROUP_DEVICE: u32 = 15;
const ATTACH_CGROUP_DEVICE: u32 = 6;
const ALLOW_OTHERS: u32 = 2;

/// Loads a program that decides about a group's use of devices.
///
/// # Errors
///
/// Those of bpf(2).
pub fn load_device_program(instructions: &[Instruction]) -> io::Result<OwnedFd> {
    let program = NewProgram {
        kind: CGROUP_DEVICE,
        length: u32::try_from(instructions.len()).map_err(io::Error::other)?,
        instructions: instructions.as_ptr().addr() as u64,
        license: c"Apache-2.0".as_ptr().addr() as u64,
    };
    let descriptor = bpf(PROGRAM_LOAD, &program)?;
    let descriptor = i32::try_from(descriptor).map_err(io::Error::other)?;
    // SAFETY: the kernel has just made this descriptor, and nothing else knows it.
    Ok(unsafe { OwnedFd::from_raw_fd(descriptor) })
}

/// Attaches such a program to the open directory `group` of a group of version 2. It stays as long as
/// the group.
///
/// # Errors
///
/// Those of bpf(2).
pub fn attach_device_program(program: BorrowedFd<'_>, group: BorrowedFd<'_>) -> io::Result<()> {
    let number = |descriptor: BorrowedFd<'_>| u32::try_from(descriptor.as_raw_fd());
    let attachment = Attachment {
        target: number(group).map_err(io::Error::other)?,
        program: number(program).map_err(io::Error::other)?,
        kind: ATTACH_CGROUP_DEVICE,
        flags: ALLOW_OTHERS,
    };
    bpf(PROGRAM_ATTACH, &attachment).map(drop)
}

fn bpf<T>(command: libc::c_long, attributes: &T) -> io::Result<libc::c_long> {
    let (pointer, size) = (std::ptr::from_ref(attributes), size_of::<T>());
    // SAFETY: the kernel reads as many bytes as it is told of a structure that outlives the call, and takes
    // the rest of its own larger one for zeroes (bpf(2)). The addresses within are of slices and literals
    // that the callers borrow for the call.
    Ok(Errno::result(unsafe {
        libc::syscall(libc::SYS_bpf, command, pointer, size)
    })?)
}

/// Sends `signal` to one process. `nix` does not know the real-time signals.
///
/// # Errors
///
/// Those of kill(2).
pub fn kill(pid: i32, signal: i32) -> Result<(), Errno> {
    if pid <= 0 {
        return Err(Errno::ESRCH);
    }
    // SAFETY: kill takes two numbers and touches no memory of this process.
    Errno::result(unsafe { libc::kill(pid, signal) }).map(drop)
}

/// Collects one child that has ended: its number, and its exit code or 128 plus the signal that
/// ended it. `nix` fails on a real-time signal, after the child is gone.
pub fn collect_child() -> Option<(i32, i32)> {
    loop {
        let mut status = 0;
        // SAFETY: the pointer is to a local variable that outlives the call.
        let pid = unsafe { libc::waitpid(-1, &raw mut status, libc::WNOHANG | libc::__WALL) };
        if pid < 0 && Errno::last() == Errno::EINTR {
            continue;
        }
        if pid <= 0 {
            return None;
        }
        if libc::WIFEXITED(status) {
            return Some((pid, libc::WEXITSTATUS(status)));
        }
        if libc::WIFSIGNALED(status) {
            return Some((pid, 128 + libc::WTERMSIG(status)));
        }
    }
}

/// Sets the size of the terminal behind `master`; the kernel tells its foreground processes.
///
/// # Errors
///
/// When `master` is no terminal.
pub fn set_window_size(master: BorrowedFd<'_>, rows: u16, columns: u16) -> io::Result<()> {
    let size = libc::winsize {
        ws_row: rows,
        ws_col: columns,
        ws_xpixel: 0,
        ws_ypixel: 0,
    };
    // SAFETY: the descriptor is borrowed for the call, and the kernel reads one winsize.
    unsafe { ioctl::set_window_size(master.as_raw_fd(), &raw const size) }?;
    Ok(())
}

/// Opens the end of a pseudo-terminal that its programs have, whatever file system it is on.
///
/// # Errors
///
/// When `master` is no pseudo-terminal's master.
pub fn other_end(master: BorrowedFd<'_>) -> io::Result<OwnedFd> {
    let flags = libc::O_RDWR | libc::O_NOCTTY | libc::O_CLOEXEC;
    // SAFETY: the descriptor is borrowed for the call, which takes a number.
    let end = unsafe { ioctl::other_end(master.as_raw_fd(), flags) }?;
    // SAFETY: the kernel has just made this descriptor, and nothing else knows it.
    Ok(unsafe { OwnedFd::from_raw_fd(end) })
}

/// Accepts a connection, without waiting for one on a socket that does not block.
///
/// # Errors
///
/// Those of accept(2).
pub fn accept(listener: BorrowedFd<'_>) -> Result<OwnedFd, Errno> {
    let flags = SockFlag::SOCK_CLOEXEC | SockFlag::SOCK_NONBLOCK;
    let connection = accept4(listener.as_raw_fd(), flags)?;
    // SAFETY: the kernel has just made this descriptor, and nothing else knows it.
    Ok(unsafe { OwnedFd::from_raw_fd(connection) })
}

/// Gives the Ethernet interface called `name` the address `mac` (netdevice(7)). `socket` is any socket
/// of the interface's network namespace.
///
/// # Errors
///
/// When there is no such interface, or it does not take the address.
pub fn set_mac(socket: BorrowedFd<'_>, name: &str, mac: [u8; 6]) -> io::Result<()> {
    // SAFETY: all fields of `ifreq` are integers, arrays of them or pointers; zeroes are valid.
    let mut request: libc::ifreq = unsafe { std::mem::zeroed() };
    // One byte stays zero: the name ends there.
    if name.len() >= request.ifr_name.len() {
        return Err(io::ErrorKind::InvalidInput.into());
    }
    for (to, from) in request.ifr_name.iter_mut().zip(name.bytes()) {
        *to = from.cast_signed();
    }
    let mut address = libc::sockaddr {
        sa_family: libc::ARPHRD_ETHER,
        sa_data: [0; 14],
    };
    for (to, from) in address.sa_data.iter_mut().zip(mac) {
        *to = from.cast_signed();
    }
    request.ifr_ifru.ifru_hwaddr = address;
    // SAFETY: the descriptor is borrowed for the call, and the kernel reads one `ifreq`.
    unsafe { ioctl::set_hardware_address(socket.as_raw_fd(), &raw const request) }?;
    Ok(())
}

/// Drops what the kernel keeps of a block device's content.
///
/// # Errors
///
/// When it is no block device.
pub fn drop_buffers(device: BorrowedFd<'_>) -> io::Result<()> {
    // SAFETY: the descriptor is borrowed for the call, which takes no argument.
    unsafe { ioctl::drop_buffers(device.as_raw_fd()) }?;
    Ok(())
}

/// Lets the event loop watch a descriptor that does not block.
///
/// # Errors
///
/// When it is of no kind that can be watched.
pub fn watch(descriptor: OwnedFd, interest: Interest) -> io::Result<AsyncFd<OwnedFd>> {
    // SAFETY: an `OwnedFd` stays open, and the same, until the `AsyncFd` that now owns it goes.
    unsafe { AsyncFd::register_with_interest(descriptor, interest) }.map_err(Into::into)
}

/// Has the kernel reap the children that end, also those inherited.
pub fn leave_children_to_the_kernel() {
    // SAFETY: ignoring a signal runs no code of ours.
    unsafe { libc::signal(libc::SIGCHLD, libc::SIG_IGN) };
}

/// Gives SIGPIPE back its default: Rust programs ignore it, and what is ignored stays so in the
/// program that is executed next.
pub fn default_sigpipe() {
    // SAFETY: the default disposition runs no code of ours.
    unsafe { libc::signal(libc::SIGPIPE, libc::SIG_DFL) };
}

/// Closes what this program was started with, beyond its standard streams. To be called before anything
/// is opened.
///
/// # Errors
///
/// Those of close_range(2) (Linux 5.9).
pub fn close_inherited() -> io::Result<()> {
    let (first, last, flags): (libc::c_uint, libc::c_uint, libc::c_uint) =
        (3, libc::c_uint::MAX, 0);
    // SAFETY: takes numbers only. Nothing of this program's has a descriptor yet, as the caller says.
    let outcome = unsafe { libc::syscall(libc::SYS_close_range, first, last, flags) };
    Errno::result(outcome)?;
    Ok(())
}

//! System calls that no safe wrapper covers: any signal number, any exit status, terminal sizes.
#![allow(unsafe_code)]

use std::{
    io,
    os::fd::{AsRawFd, BorrowedFd, OwnedFd},
};

use nix::errno::Errno;
use tokio::io::{Interest, unix::AsyncFd};

mod ioctl {
    nix::ioctl_write_ptr_bad!(set_window_size, libc::TIOCSWINSZ, libc::winsize);
    nix::ioctl_read_bad!(window_size, libc::TIOCGWINSZ, libc::winsize);
    nix::ioctl_write_ptr_bad!(set_hardware_address, libc::SIOCSIFHWADDR, libc::ifreq);
    // BLKFLSBUF (Linux, include/uapi/linux/fs.h).
    nix::ioctl_none!(drop_buffers, 0x12, 97);
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

/// Whether somebody has given the terminal `end` a size.
///
/// # Errors
///
/// When `end` is no terminal.
pub fn has_window_size(end: BorrowedFd<'_>) -> io::Result<bool> {
    let mut size = libc::winsize {
        ws_row: 0,
        ws_col: 0,
        ws_xpixel: 0,
        ws_ypixel: 0,
    };
    // SAFETY: the descriptor is borrowed for the call, and the kernel writes one winsize.
    unsafe { ioctl::window_size(end.as_raw_fd(), &raw mut size) }?;
    Ok(size.ws_row != 0 || size.ws_col != 0)
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

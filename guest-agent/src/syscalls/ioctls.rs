//! Requests to device drivers: terminals, network interfaces, disks, the random generator.

use std::{
    io,
    os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd},
};

mod raw {
    nix::ioctl_write_ptr_bad!(set_window_size, libc::TIOCSWINSZ, libc::winsize);
    // Takes flags by value.
    nix::ioctl_write_int_bad!(open_terminal_peer, libc::TIOCGPTPEER);
    nix::ioctl_write_ptr_bad!(set_hardware_address, libc::SIOCSIFHWADDR, libc::ifreq);
    // BLKFLSBUF (linux/fs.h).
    nix::ioctl_none!(drop_buffers, 0x12, 97);
    // RNDADDTOENTCNT and RNDRESEEDCRNG (linux/random.h).
    nix::ioctl_write_ptr!(add_to_entropy_count, b'R', 0x01, libc::c_int);
    nix::ioctl_none!(reseed, b'R', 0x07);
}

/// Sets the size of the terminal behind `master`. The kernel signals its foreground processes.
///
/// # Errors
///
/// When `master` is not a terminal.
pub fn set_window_size(master: BorrowedFd<'_>, rows: u16, columns: u16) -> io::Result<()> {
    let size = libc::winsize {
        ws_row: rows,
        ws_col: columns,
        ws_xpixel: 0,
        ws_ypixel: 0,
    };
    // SAFETY: the descriptor is borrowed for the call, and the kernel reads one `winsize`.
    unsafe { raw::set_window_size(master.as_raw_fd(), &raw const size) }?;
    Ok(())
}

/// Opens the side of a pseudo-terminal that programs use, in whichever devpts it is.
///
/// # Errors
///
/// When `master` is not the master of a pseudo-terminal.
pub fn open_terminal_peer(master: BorrowedFd<'_>) -> io::Result<OwnedFd> {
    let flags = libc::O_RDWR | libc::O_NOCTTY | libc::O_CLOEXEC;
    // SAFETY: the descriptor is borrowed for the call, which takes a number.
    let peer = unsafe { raw::open_terminal_peer(master.as_raw_fd(), flags) }?;
    // SAFETY: the kernel has just made this descriptor, and nothing else uses it.
    Ok(unsafe { OwnedFd::from_raw_fd(peer) })
}

/// Sets the MAC address of the Ethernet interface `name` (netdevice(7)). `socket` is any socket of
/// the interface's network namespace.
///
/// # Errors
///
/// When there is no such interface, or it refuses the address.
pub fn set_mac(socket: BorrowedFd<'_>, name: &str, mac: [u8; 6]) -> io::Result<()> {
    // SAFETY: all fields of `ifreq` are integers, arrays of integers or pointers: zeroes are valid.
    let mut request: libc::ifreq = unsafe { std::mem::zeroed() };
    // The last byte stays zero: the name ends there.
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
    unsafe { raw::set_hardware_address(socket.as_raw_fd(), &raw const request) }?;
    Ok(())
}

/// Drops what the kernel has cached of a block device's content.
///
/// # Errors
///
/// When `device` is not a block device.
pub fn drop_buffers(device: BorrowedFd<'_>) -> io::Result<()> {
    // SAFETY: the descriptor is borrowed for the call, which takes no argument.
    unsafe { raw::drop_buffers(device.as_raw_fd()) }?;
    Ok(())
}

/// Credits `bits` of entropy to the kernel's random generator, which `random` is a device of.
///
/// # Errors
///
/// Without CAP_SYS_ADMIN.
pub fn add_to_entropy_count(random: BorrowedFd<'_>, bits: libc::c_int) -> io::Result<()> {
    // SAFETY: the descriptor is borrowed for the call, and the kernel reads one int.
    unsafe { raw::add_to_entropy_count(random.as_raw_fd(), &raw const bits) }?;
    Ok(())
}

/// Makes the kernel's random generator take a new key from its entropy pool now.
///
/// # Errors
///
/// Without CAP_SYS_ADMIN.
pub fn reseed(random: BorrowedFd<'_>) -> io::Result<()> {
    // SAFETY: the descriptor is borrowed for the call, which takes no argument.
    unsafe { raw::reseed(random.as_raw_fd()) }?;
    Ok(())
}

//! Has a listening socket take every connection to the loopback address of its network namespace,
//! whatever the port: a program of 21 instructions where the kernel looks for a listener
//! (Linux, bpf/prog_sk_lookup.rst; since 5.9). There is no netfilter rule and nothing to remove:
//! program and link end with their descriptors.
#![allow(unsafe_code)]

use std::{
    io,
    net::{Ipv4Addr, TcpListener},
    os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd, RawFd},
};

use nix::libc;

// linux/bpf.h: commands, a kind of map, of program, of attachment, and helper functions.
const MAP_CREATE: libc::c_long = 0;
const MAP_UPDATE: libc::c_long = 2;
const PROGRAM_LOAD: libc::c_long = 5;
const LINK_CREATE: libc::c_long = 28;
const SOCKMAP: u32 = 15;
const SK_LOOKUP: u32 = 30;
const ATTACH_SK_LOOKUP: u32 = 36;
const FIND_IN_MAP: i32 = 1;
const RELEASE: i32 = 86;
const ASSIGN: i32 = 124;
/// Offsets in `struct bpf_sk_lookup`.
const PROTOCOL: i16 = 12;
const LOCAL_ADDRESS: i16 = 40;

#[repr(C)]
struct NewMap {
    kind: u32,
    key_size: u32,
    value_size: u32,
    entries: u32,
}

#[repr(C)]
struct Entry {
    map: u32,
    padding: u32,
    key: u64,
    value: u64,
    flags: u64,
}

#[repr(C)]
struct NewProgram {
    kind: u32,
    length: u32,
    instructions: u64,
    license: u64,
    log_level: u32,
    log_size: u32,
    log: u64,
    kernel_version: u32,
    flags: u32,
    name: [u8; 16],
    interface: u32,
    attachment: u32,
}

#[repr(C)]
struct NewLink {
    program: u32,
    target: u32,
    attachment: u32,
    flags: u32,
}

#[repr(C)]
#[derive(Clone, Copy)]
struct Instruction {
    code: u8,
    /// Destination in the lower half, source in the upper.
    registers: u8,
    offset: i16,
    immediate: i32,
}

/// As long as this value lives, the listener takes the connections.
#[derive(Debug)]
pub(super) struct Steering {
    _link: OwnedFd,
}

/// Steers connections in the network namespace `namespace` to `listener`, which lives in it.
pub(super) fn steer(listener: &TcpListener, namespace: BorrowedFd<'_>) -> io::Result<Steering> {
    let map = descriptor(
        MAP_CREATE,
        &NewMap {
            kind: SOCKMAP,
            key_size: 4,
            value_size: 8,
            entries: 1,
        },
    )?;
    let (key, value) = (0_u32, number(listener.as_raw_fd())?);
    let value = u64::from(value);
    call(
        MAP_UPDATE,
        &Entry {
            map: number(map.as_raw_fd())?,
            padding: 0,
            key: (&raw const key).addr() as u64,
            value: (&raw const value).addr() as u64,
            flags: 0,
        },
    )?;
    let instructions = program(map.as_raw_fd());
    let program = descriptor(
        PROGRAM_LOAD,
        &NewProgram {
            kind: SK_LOOKUP,
            length: instructions.len() as u32,
            instructions: instructions.as_ptr().addr() as u64,
            license: c"Apache-2.0".as_ptr().addr() as u64,
            log_level: 0,
            log_size: 0,
            log: 0,
            kernel_version: 0,
            flags: 0,
            name: *b"imprint_forward\0",
            interface: 0,
            attachment: ATTACH_SK_LOOKUP,
        },
    )?;
    let link = descriptor(
        LINK_CREATE,
        &NewLink {
            program: number(program.as_raw_fd())?,
            target: number(namespace.as_raw_fd())?,
            attachment: ATTACH_SK_LOOKUP,
            flags: 0,
        },
    )?;
    Ok(Steering { _link: link })
}

/// TCP to 127.0.0.1 goes to the socket in the map; all else is looked for as usual.
fn program(map: RawFd) -> [Instruction; 21] {
    let [load, store, copy, add, set] = [0x61, 0x62, 0xbf, 0x07, 0xb7];
    let [jump_equal, jump_unequal, wide, helper, exit] = [0x15, 0x55, 0x18, 0x85, 0x95];
    let loopback = i32::from_ne_bytes(Ipv4Addr::LOCALHOST.octets());
    let step = |code, to: u8, from: u8, offset, immediate| Instruction {
        code,
        registers: to | from << 4,
        offset,
        immediate,
    };
    [
        step(copy, 6, 1, 0, 0),
        step(load, 2, 1, PROTOCOL, 0),
        step(jump_unequal, 2, 0, 16, libc::IPPROTO_TCP),
        step(load, 2, 1, LOCAL_ADDRESS, 0),
        step(jump_unequal, 2, 0, 14, loopback),
        // The map's first socket, with a reference to it.
        step(wide, 1, 1, 0, map),
        step(0, 0, 0, 0, 0),
        step(store, 10, 0, -4, 0),
        step(copy, 2, 10, 0, 0),
        step(add, 2, 0, 0, -4),
        step(helper, 0, 0, 0, FIND_IN_MAP),
        step(jump_equal, 0, 0, 7, 0),
        // It takes the connection; the reference is given back.
        step(copy, 7, 0, 0, 0),
        step(copy, 1, 6, 0, 0),
        step(copy, 2, 0, 0, 0),
        step(set, 3, 0, 0, 0),
        step(helper, 0, 0, 0, ASSIGN),
        step(copy, 1, 7, 0, 0),
        step(helper, 0, 0, 0, RELEASE),
        // Pass, with the choice that was made or without one.
        step(set, 0, 0, 0, 1),
        step(exit, 0, 0, 0, 0),
    ]
}

fn number(descriptor: RawFd) -> io::Result<u32> {
    u32::try_from(descriptor).map_err(|_| io::ErrorKind::InvalidInput.into())
}

/// A command that answers with a descriptor. The kernel closes it on execution.
fn descriptor<T>(command: libc::c_long, attributes: &T) -> io::Result<OwnedFd> {
    let raw = i32::try_from(call(command, attributes)?).map_err(io::Error::other)?;
    // SAFETY: the kernel has just made this descriptor for us, and nobody else knows of it.
    Ok(unsafe { OwnedFd::from_raw_fd(raw) })
}

fn call<T>(command: libc::c_long, attributes: &T) -> io::Result<libc::c_long> {
    let (pointer, size) = ((&raw const *attributes), size_of::<T>());
    // SAFETY: the kernel reads `size` bytes at `pointer`, a value of `T` that outlives the call,
    // and takes the rest of its own larger structure for zeroes (bpf(2)). The addresses within are
    // of values in the callers, which outlive the call too.
    let done = unsafe { libc::syscall(libc::SYS_bpf, command, pointer, size) };
    if done < 0 {
        Err(io::Error::last_os_error())
    } else {
        Ok(done)
    }
}

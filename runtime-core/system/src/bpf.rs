//! BPF programs that the kernel runs when it looks for a listening socket (bpf(2); Linux,
//! bpf/prog_sk_lookup.rst; since 5.9).
//!
//! The kernel verifies a program before it loads it, so a wrong program is refused and does no
//! harm. Maps, programs and links end with their descriptors.
//!
//! `unsafe`: bpf(2) has no safe wrapper.
#![allow(unsafe_code)]

use std::{
    ffi::CStr,
    io,
    os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd},
};

use crate::answer;

// linux/bpf.h: commands, a kind of map, of program, and of attachment.
const MAP_CREATE: libc::c_long = 0;
const MAP_UPDATE: libc::c_long = 2;
const PROGRAM_LOAD: libc::c_long = 5;
const LINK_CREATE: libc::c_long = 28;
const SOCKMAP: u32 = 15;
const SK_LOOKUP: u32 = 30;
const ATTACH_SK_LOOKUP: u32 = 36;
/// Length of a program's name, with the zero behind it.
const NAME_LENGTH: usize = 16;

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
    name: [u8; NAME_LENGTH],
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

/// An instruction (Linux, bpf/standardization/instruction-set.rst).
#[repr(C)]
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Instruction {
    code: u8,
    /// Destination in the lower half, source in the upper.
    registers: u8,
    offset: i16,
    immediate: i32,
}

impl Instruction {
    /// The instruction `code`, with the registers `to` and `from`, each below 16.
    #[must_use]
    pub const fn new(code: u8, to: u8, from: u8, offset: i16, immediate: i32) -> Self {
        Self {
            code,
            registers: to & 0xf | from << 4,
            offset,
            immediate,
        }
    }
}

/// A map with one socket, under the key 0.
#[derive(Debug)]
pub struct SocketMap(OwnedFd);

impl SocketMap {
    /// A map that holds this socket, without keeping it open.
    ///
    /// # Errors
    /// The kernel has no such maps, this process may not make one, or the socket is of a kind that
    /// cannot be in one.
    pub fn new(socket: impl AsFd) -> io::Result<Self> {
        let map = descriptor(
            MAP_CREATE,
            &NewMap {
                kind: SOCKMAP,
                key_size: 4,
                value_size: 8,
                entries: 1,
            },
        )?;
        let (key, value) = (0_u32, u64::from(number(socket)?));
        call(
            MAP_UPDATE,
            &Entry {
                map: number(&map)?,
                padding: 0,
                key: (&raw const key).addr() as u64,
                value: (&raw const value).addr() as u64,
                flags: 0,
            },
        )?;
        Ok(Self(map))
    }

    /// The immediate value of an instruction that refers to this map.
    #[must_use]
    pub fn immediate(&self) -> i32 {
        self.0.as_raw_fd()
    }
}

/// A program that chooses the socket for a connection.
#[derive(Debug)]
pub struct LookupProgram(OwnedFd);

impl LookupProgram {
    /// Loads a program. Its name, cut to 15 bytes, is shown where loaded programs are listed. Some
    /// helper functions are allowed for certain licenses only.
    ///
    /// # Errors
    /// This process may not load programs, or the kernel refuses this one.
    pub fn load(name: &CStr, license: &CStr, instructions: &[Instruction]) -> io::Result<Self> {
        let mut short = [0; NAME_LENGTH];
        for (to, from) in short[..NAME_LENGTH - 1].iter_mut().zip(name.to_bytes()) {
            *to = *from;
        }
        let program = NewProgram {
            kind: SK_LOOKUP,
            length: u32::try_from(instructions.len()).map_err(io::Error::other)?,
            instructions: instructions.as_ptr().addr() as u64,
            license: license.as_ptr().addr() as u64,
            log_level: 0,
            log_size: 0,
            log: 0,
            kernel_version: 0,
            flags: 0,
            name: short,
            interface: 0,
            attachment: ATTACH_SK_LOOKUP,
        };
        descriptor(PROGRAM_LOAD, &program).map(Self)
    }

    /// Runs the program in a network namespace as long as what is returned lives.
    ///
    /// # Errors
    /// The descriptor is of no network namespace, or the kernel refuses.
    pub fn attach(&self, namespace: BorrowedFd<'_>) -> io::Result<Attached> {
        let link = descriptor(
            LINK_CREATE,
            &NewLink {
                program: number(&self.0)?,
                target: number(namespace)?,
                attachment: ATTACH_SK_LOOKUP,
                flags: 0,
            },
        )?;
        Ok(Attached { _link: link })
    }
}

/// A program that is attached. The kernel keeps it, and the maps that it refers to, until this is
/// dropped.
#[derive(Debug)]
pub struct Attached {
    _link: OwnedFd,
}

fn number(descriptor: impl AsFd) -> io::Result<u32> {
    u32::try_from(descriptor.as_fd().as_raw_fd()).map_err(io::Error::other)
}

/// A command that answers with a descriptor. The kernel closes it on execution.
fn descriptor<T>(command: libc::c_long, attributes: &T) -> io::Result<OwnedFd> {
    let raw = i32::try_from(call(command, attributes)?).map_err(io::Error::other)?;
    // SAFETY: the kernel has just made this descriptor for us, so nothing else owns it.
    Ok(unsafe { OwnedFd::from_raw_fd(raw) })
}

fn call<T>(command: libc::c_long, attributes: &T) -> io::Result<libc::c_long> {
    let (pointer, size) = (&raw const *attributes, size_of::<T>());
    // SAFETY: the kernel reads `size` bytes at `pointer`, a value of `T` that outlives the call,
    // and takes the rest of its own larger structure for zeroes (bpf(2)). The addresses within are
    // of values in the callers, which outlive the call too.
    answer(unsafe { libc::syscall(libc::SYS_bpf, command, pointer, size) })
}

#[cfg(test)]
mod tests {
    use std::{fs::File, net::TcpListener};

    use super::*;

    #[test]
    fn registers_share_a_byte() {
        let step = Instruction::new(0xbf, 6, 1, -4, 7);
        assert_eq!(step.registers, 0x16);
        assert_eq!(size_of::<Instruction>(), 8);
        assert_eq!((step.code, step.offset, step.immediate), (0xbf, -4, 7));
    }

    #[test]
    fn only_a_program_that_passes_the_kernels_checks_is_loaded_and_attached() {
        let load = |steps: &[Instruction]| LookupProgram::load(c"test", c"Apache-2.0", steps);
        // Register 0, the answer, is 1: pass. Then the end.
        let (pass, end) = (
            Instruction::new(0xb7, 0, 0, 0, 1),
            Instruction::new(0x95, 0, 0, 0, 0),
        );
        let program = match load(&[pass, end]) {
            Ok(program) => program,
            Err(error) => return eprintln!("SKIPPED: no programs: {error}"),
        };
        assert!(load(&[pass]).is_err());
        let namespace = File::open("/proc/thread-self/ns/net").unwrap();
        program.attach(namespace.as_fd()).unwrap();
        let other = File::open("/proc/thread-self/ns/uts").unwrap();
        assert!(program.attach(other.as_fd()).is_err());
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        SocketMap::new(&listener).unwrap();
        assert!(SocketMap::new(&other).is_err());
    }
}

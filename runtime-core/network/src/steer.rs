//! Has a listening socket take every connection to the loopback address of its network namespace,
//! whatever the port: a program of 21 instructions where the kernel looks for a listener
//! ([`system::bpf`]). There is no netfilter rule and nothing to remove.

use std::{
    io,
    net::{Ipv4Addr, TcpListener},
    os::fd::BorrowedFd,
};

use nix::libc;
use system::bpf::{Attached, Instruction, LookupProgram, SocketMap};

// linux/bpf.h: helper functions.
const FIND_IN_MAP: i32 = 1;
const RELEASE: i32 = 86;
const ASSIGN: i32 = 124;
/// Offsets in `struct bpf_sk_lookup`.
const PROTOCOL: i16 = 12;
const LOCAL_ADDRESS: i16 = 40;

/// Steers connections in the network namespace `namespace` to `listener`, which lives in it. As long
/// as what is returned lives, the listener takes the connections.
pub(super) fn steer(listener: &TcpListener, namespace: BorrowedFd<'_>) -> io::Result<Attached> {
    let map = SocketMap::new(listener)?;
    let program = LookupProgram::load(c"imprint_forward", c"Apache-2.0", &program(&map))?;
    program.attach(namespace)
}

/// TCP to 127.0.0.1 goes to the socket in the map; all else is looked for as usual.
///
/// ```text
///     r6 = r1                              the context, which a call would not keep in r1
///     if r1->protocol != TCP goto pass
///     if r1->local_ip4 != 127.0.0.1 goto pass
///     *(u32 *)(r10 - 4) = 0                the key, on the stack
///     r0 = bpf_map_lookup_elem(map, r10 - 4)
///     if r0 == 0 goto pass
///     r7 = r0
///     bpf_sk_assign(r6, r7, 0)
///     bpf_sk_release(r7)
/// pass:
///     return SK_PASS
/// ```
fn program(map: &SocketMap) -> [Instruction; 21] {
    let [load, store, copy, add, set] = [0x61, 0x62, 0xbf, 0x07, 0xb7];
    let [jump_equal, jump_unequal, wide, helper, exit] = [0x15, 0x55, 0x18, 0x85, 0x95];
    let loopback = i32::from_ne_bytes(Ipv4Addr::LOCALHOST.octets());
    let step = Instruction::new;
    [
        step(copy, 6, 1, 0, 0),
        step(load, 2, 1, PROTOCOL, 0),
        step(jump_unequal, 2, 0, 16, libc::IPPROTO_TCP),
        step(load, 2, 1, LOCAL_ADDRESS, 0),
        step(jump_unequal, 2, 0, 14, loopback),
        // The map's first socket, with a reference to it.
        step(wide, 1, 1, 0, map.immediate()),
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

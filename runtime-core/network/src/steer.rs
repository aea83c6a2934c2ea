//! Lets a listening socket accept every connection to the loopback address of its network
//! namespace, whatever the port. A BPF program of 21 instructions runs where the kernel looks for a
//! listener ([`system::bpf`]). There is no netfilter rule, and nothing to remove.

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

/// Steers connections in the network namespace `namespace` to `listener`, which must belong to it,
/// until the returned value is dropped.
pub(super) fn steer(listener: &TcpListener, namespace: BorrowedFd<'_>) -> io::Result<Attached> {
    let map = SocketMap::new(listener)?;
    let program = LookupProgram::load(c"imprint_forward", c"Apache-2.0", &program(&map))?;
    program.attach(namespace)
}

/// The program: TCP to 127.0.0.1 goes to the socket in the map, everything else is looked up as
/// usual.
///
/// The comments are its text for an assembler. A function has its arguments in `r1` to `r3`,
/// returns in `r0` and keeps `r6` and `r7`; `r10` is the end of the stack. `r1` is the context at
/// first, a `struct bpf_sk_lookup`. A jump counts instructions from the next one, and the one that
/// loads the map counts as two.
#[rustfmt::skip]
fn program(map: &SocketMap) -> [Instruction; 21] {
    let [load, store, copy, add, set] = [0x61, 0x62, 0xbf, 0x07, 0xb7];
    let [jump_equal, jump_unequal, wide, helper, exit] = [0x15, 0x55, 0x18, 0x85, 0x95];
    let loopback = i32::from_ne_bytes(Ipv4Addr::LOCALHOST.octets());
    let step = Instruction::new;
    [
        step(copy, 6, 1, 0, 0),                          //       r6 = r1
        step(load, 2, 1, PROTOCOL, 0),                   //       r2 = *(u32 *)(r1 + 12)
        step(jump_unequal, 2, 0, 16, libc::IPPROTO_TCP), //       if r2 != 6 goto pass
        step(load, 2, 1, LOCAL_ADDRESS, 0),              //       r2 = *(u32 *)(r1 + 40)
        step(jump_unequal, 2, 0, 14, loopback),          //       if r2 != 127.0.0.1 goto pass
        step(wide, 1, 1, 0, map.immediate()),            //       r1 = map ll
        step(0, 0, 0, 0, 0),                             //
        step(store, 10, 0, -4, 0),                       //       *(u32 *)(r10 - 4) = 0
        step(copy, 2, 10, 0, 0),                         //       r2 = r10
        step(add, 2, 0, 0, -4),                          //       r2 += -4
        step(helper, 0, 0, 0, FIND_IN_MAP),              //       call bpf_map_lookup_elem
        step(jump_equal, 0, 0, 7, 0),                    //       if r0 == 0 goto pass
        step(copy, 7, 0, 0, 0),                          //       r7 = r0
        step(copy, 1, 6, 0, 0),                          //       r1 = r6
        step(copy, 2, 0, 0, 0),                          //       r2 = r0
        step(set, 3, 0, 0, 0),                           //       r3 = 0
        step(helper, 0, 0, 0, ASSIGN),                   //       call bpf_sk_assign
        step(copy, 1, 7, 0, 0),                          //       r1 = r7
        step(helper, 0, 0, 0, RELEASE),                  //       call bpf_sk_release
        step(set, 0, 0, 0, 1),                           // pass: r0 = SK_PASS
        step(exit, 0, 0, 0, 0),                          //       exit
    ]
}

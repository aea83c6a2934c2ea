//! System calls that the crates in use do not wrap safely, or not fully.
//!
//! All unsafe code of the agent is in this module.
#![allow(unsafe_code)]

mod bpf;
mod descriptors;
mod ioctls;
mod processes;

pub use self::{
    bpf::{Instruction, attach_device_program, load_device_program},
    descriptors::{accept, close_inherited, receive_with_descriptors, watch},
    ioctls::{
        add_to_entropy_count, drop_buffers, open_terminal_peer, reseed, set_mac, set_window_size,
    },
    processes::{collect_child, default_sigpipe, ignore_sigchld, kill},
};

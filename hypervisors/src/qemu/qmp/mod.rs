//! A typed client for the QEMU Machine Protocol: line-delimited JSON over one stream socket
//! (<https://www.qemu.org/docs/master/interop/qmp-spec.html>).

mod client;
pub mod command;
mod line;
mod message;
mod wire;

pub use client::Client;
pub use command::Command;
pub use message::{Event, Version};

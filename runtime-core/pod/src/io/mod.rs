//! A process's standard streams: from the names containerd gives to bytes moved to and from the
//! guest.

mod guest;
mod input;
mod output;
mod stdio;

pub use guest::GuestProcess;
pub use input::{Input, InputHold};
pub use output::{Outputs, READ_BYTES};
pub use stdio::{InvalidStdio, Sink, Stdio};

//! A process's standard streams: parsing their names, and moving their bytes to and from the guest.

mod guest;
mod input;
mod output;
mod stdio;

pub use guest::GuestProcess;
pub use input::{Input, InputHold};
pub use output::{Outputs, READ_BYTES};
pub use stdio::{InvalidStdio, Sink, Stdio};

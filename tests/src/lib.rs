#![forbid(unsafe_code)]
//! The fixtures that the end-to-end tests and the playground share: a private containerd, images
//! made on the spot, an installation of Imprint, and a check for what was left behind.

pub mod bench;
pub mod containerd;
pub mod cri;
pub mod ctr;
pub mod demo;
mod error;
pub mod events;
pub mod harness;
pub mod image;
pub mod installation;
pub mod leaks;
pub mod log;
pub mod management;
pub mod node;
pub mod playground;
pub mod proc;
pub mod program;
pub mod running;
pub mod settings;
pub mod starts;
pub mod sweep;
pub mod up;
pub mod wait;

pub use error::{Error, Result};

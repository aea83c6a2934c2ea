#![forbid(unsafe_code)]
//! A node to try Imprint on: a private containerd, images made on the spot, an installation of
//! Imprint, a CRI client, and a check for what was left behind.
//!
//! The demonstration, the benchmark and `make up` use it, and the end-to-end tests of `tests/`.

pub mod bench;
pub mod containerd;
pub mod cri;
pub mod ctr;
pub mod demo;
mod error;
pub mod image;
pub mod installation;
pub mod leaks;
pub mod log;
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

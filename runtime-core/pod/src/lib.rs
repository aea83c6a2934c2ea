#![forbid(unsafe_code)]
//! What a pod is: its sandbox and containers, their processes and streams, and what is on disk so
//! that all of it can be undone.

pub mod container;
pub mod io;
pub mod process;
pub mod sandbox;
pub mod state;

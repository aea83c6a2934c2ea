#![forbid(unsafe_code)]
//! A pod: its sandbox and containers, their processes and streams, and the state on disk by which
//! all of it can be undone.

pub mod container;
pub mod io;
pub mod process;
pub mod sandbox;
pub mod state;

#![forbid(unsafe_code)]
//! What the end-to-end tests share: their runner, and how they ask containerd for events and a shim
//! for metrics.
//!
//! What the playground shares with them (a private node, a CRI client, a leak check) is in the
//! crate `playground`.

pub mod events;
pub mod harness;
pub mod management;

#![deny(unsafe_code)]
//! The guest agent's API.

#[allow(missing_docs, clippy::all, clippy::pedantic, unused_results)]
mod generated {
    include!(concat!(env!("OUT_DIR"), "/protocol.rs"));
}
pub use generated::*;

pub mod serial;

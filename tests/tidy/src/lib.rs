#![forbid(unsafe_code)]
//! Checks of what the compiler does not read: the words of messages and pages, the length of lines
//! and files, links, and where tests are.
//!
//! Each rule reads all sources and gives its findings. `ratchet.toml` says how many of them each
//! folder may still have: the number may only shrink, and what is not listed there may have none.
//! `cargo run -p tidy` lists all findings, `cargo run -p tidy -- lower` lowers the numbers to what
//! is left.

mod finding;
mod markdown;
mod ratchet;
pub mod rules;
mod rust;
mod sources;

pub use self::{
    finding::Finding,
    ratchet::{Ratchet, verdict},
    rules::{RULES, Rule},
    sources::{Kind, Source, Sources},
};

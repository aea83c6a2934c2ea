#![forbid(unsafe_code)]
//! Holds the project's layers: two rules, which `tests/workspace.rs` checks over the workspace.
//!
//! 1. A crate depends only on the crates that its row in the table of `docs/architecture.md`
//!    ("What is where") names, and a row names only crates of rows above it ([`arrows`]).
//! 2. The top-level modules of a crate (`src/x.rs`, `src/x/`) do not use each other in a circle
//!    ([`modules`], [`circle`]). Code of tests may.
//!
//! A module *uses* another when its source names it: `use crate::other::...`, `super::other`, or a
//! name that the crate's root re-exports from it. What the root file itself defines is common to
//! all modules and belongs to none.

pub mod arrows;
pub mod circle;
pub mod modules;
mod paths;
pub mod table;
pub mod workspace;

/// What an unreadable workspace is answered with.
pub type Error = Box<dyn std::error::Error>;

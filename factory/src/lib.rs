#![forbid(unsafe_code)]
//! VM templates: make one, check that it fits, restore a unique clone from it, destroy it.
//!
//! A template is a directory on a tmpfs of its own: the guest's memory, the monitor's state of the
//! paused VM, and a manifest that says what both were made from. [`init()`] makes it, [`choose`]
//! decides for one pod whether it is used, and [`start()`] carries the decision out: it restores or
//! boots, and a restore that fails ends as an ordinary boot within the same call.
//!
//! ```text
//! <template_path>/                     tmpfs, 0700
//!   memory -> <id>/memory              for scripts that look for it here
//!   .building-<nonce>/                 a template in the making; never read
//!   <id>/manifest.json memory state    a template; renamed in whole, its manifest is its existence
//!        failures                      one line per failed restore in a row
//! ```

mod difference;
mod failures;
#[cfg(fuzzing)]
pub mod fuzzing;
mod identity;
pub mod init;
mod manifest;
mod mount;
mod private;
mod source_file;
pub mod start;
mod store;
mod stray;
mod tally;
mod template;
mod unfit;

pub use difference::{Difference, Field};
pub use failures::MAX_FAILURES;
pub use identity::{IdentityError, Shape, TemplateIdentity};
pub use init::{InitError, InitOptions, Step, init};
pub use manifest::{FORMAT_VERSION, Manifest};
pub use mount::in_foreign_mount_namespace;
pub use source_file::{DigestedFile, FileStamp, StampedFile};
pub use start::{
    BootReason, Budgets, Phase, StartError, StartPath, StartPlan, StartRecord, Started, choose,
    plan, start,
};
pub use store::{StoreError, TemplateStore};
pub use tally::{CountedBoot, StartTally};
pub use template::Template;
pub use unfit::Unfit;

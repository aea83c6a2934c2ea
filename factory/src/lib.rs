#![forbid(unsafe_code)]
//! VM templates: make one, check that it matches, restore a unique clone from it, destroy it.
//!
//! A template is a directory on a tmpfs of its own: the guest's memory, the VMM's state of the
//! paused VM, and a manifest that says what both were made from. [`init()`] makes it. [`start`]
//! decides for one pod whether it is used, and carries the decision out: it restores or boots, and
//! a restore that fails ends as an ordinary boot within the same call.
//!
//! ```text
//! <template_path>/                     tmpfs, 0700
//!   memory -> <id>/memory              for scripts that look for it here
//!   .building-<nonce>/                 a template in the making; never read
//!   <id>/manifest.json memory state    a template; renamed in whole, its manifest is its existence
//!        failures                      one line per failed restore in a row
//! ```

mod failures;
#[cfg(fuzzing)]
pub mod fuzzing;
mod identity;
pub mod init;
mod layout;
mod manifest;
mod mismatch;
mod mount;
mod orphan;
mod private_files;
mod source_file;
pub mod start;
mod store;
mod template;
mod unusable;

pub use failures::MAX_FAILURES;
pub use identity::{IdentityError, TemplateIdentity};
pub use init::{InitError, NewTemplates, Step, init};
pub use layout::FORMAT_VERSION;
pub use manifest::Manifest;
pub use mismatch::{Field, Mismatch};
pub use mount::in_foreign_mount_namespace;
pub use source_file::{DigestedFile, FileStamp, StampedFile};
pub use store::{StoreError, TemplateStore};
pub use template::Template;
pub use unusable::Unusable;

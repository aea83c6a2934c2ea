//! Why a template is not used.

use std::{
    io,
    path::{Path, PathBuf},
};

use crate::{layout::FORMAT_VERSION, mismatch::Mismatch};

/// Why there is no template for a VM. A plain value: what went wrong is in its text, so that a reason
/// can be compared and kept.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Unusable {
    /// None was made, or it was destroyed.
    #[error("There is no VM template in {path}")]
    Absent {
        /// Where it was looked for.
        path: PathBuf,
    },
    /// Something of it cannot be read.
    #[error("Template: cannot read {path}: {why}")]
    Unreadable {
        /// The file or directory.
        path: PathBuf,
        /// The system's words.
        why: String,
    },
    /// Another user could have changed it.
    #[error(
        "Template: {path} is not private (mode {mode:04o}, owner {owner}); it must belong to the \
         user who starts VMs and be closed to all others"
    )]
    NotPrivate {
        /// The file or directory.
        path: PathBuf,
        /// Its permission bits.
        mode: u32,
        /// Its owner's uid.
        owner: u32,
    },
    /// It is not what was written when it was made.
    #[error("Template is damaged: {what}")]
    Damaged {
        /// What is wrong, with the file's path.
        what: String,
    },
    /// It was made from something else.
    #[error("Template does not match: {}", list(fields))]
    Mismatch {
        /// All differing fields; never empty.
        fields: Vec<Mismatch>,
    },
    /// It was made by another version of this program.
    #[error("Template has format version {found}, this program reads {FORMAT_VERSION}")]
    FormatVersion {
        /// The manifest's.
        found: u32,
    },
    /// Too many restores in a row failed.
    #[error("Template is disabled after {failures} failed restores in a row, the last: {last}")]
    SetAside {
        /// How many.
        failures: usize,
        /// Reason of the last one.
        last: String,
    },
}

impl Unusable {
    /// For an error while `path` was opened or read: absence is damage here, since only things that
    /// a template consists of are read.
    pub(crate) fn unreadable(path: &Path, error: &io::Error) -> Self {
        match error.kind() {
            io::ErrorKind::NotFound => Self::Damaged {
                what: format!("{} is missing", path.display()),
            },
            _ => Self::Unreadable {
                path: path.to_owned(),
                why: error.to_string(),
            },
        }
    }
}

fn list(fields: &[Mismatch]) -> String {
    let texts: Vec<_> = fields.iter().map(ToString::to_string).collect();
    texts.join("; ")
}

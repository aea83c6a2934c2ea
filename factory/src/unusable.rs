//! The reasons why a template cannot be used, as plain values.

use std::{
    io,
    path::{Path, PathBuf},
};

use crate::{layout::FORMAT_VERSION, mismatch::Mismatch};

/// Why a template cannot be used for a VM. A plain value that can be compared and stored: instead
/// of an error it holds the error's text.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Unusable {
    /// There is no template: none was made, or it was destroyed.
    #[error("There is no VM template in {path}")]
    Absent {
        /// Where it was expected.
        path: PathBuf,
    },
    /// A part of it cannot be read.
    #[error("Template cannot be read: {path}: {why}")]
    Unreadable {
        /// The file or directory that cannot be read.
        path: PathBuf,
        /// The error of the operating system, in words.
        why: String,
    },
    /// Another user could have changed it.
    #[error(
        "Template is not private: {path} has mode {mode:04o} and owner {owner}; it must belong to \
         the user who starts VMs and be closed to all others"
    )]
    NotPrivate {
        /// The file or directory that is not private.
        path: PathBuf,
        /// Its permission bits, as `chmod` takes them.
        mode: u32,
        /// The uid of its owner.
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
        /// All parts that differ; never empty.
        fields: Vec<Mismatch>,
    },
    /// It was made by another version of this program.
    #[error("Template has format version {found}, this program reads {FORMAT_VERSION}")]
    FormatVersion {
        /// The version that its manifest has.
        found: u32,
    },
    /// Too many restores in a row failed.
    #[error("Template is disabled after {failures} failed restores in a row, the last: {last}")]
    SetAside {
        /// How many failed, at least [`MAX_FAILURES`](crate::MAX_FAILURES).
        failures: usize,
        /// Why the last one failed.
        last: String,
    },
}

impl Unusable {
    /// The reason for an error while `path` was opened or read. A missing file counts as damage:
    /// only files that a template consists of are read.
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

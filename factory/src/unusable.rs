//! Why a template is not used.

use std::{
    io,
    path::{Path, PathBuf},
};

use crate::{difference::Difference, manifest::FORMAT_VERSION};

/// Why there is no template for a VM.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Unfit {
    /// None was made, or it was destroyed.
    #[error("There is no VM template in {path}")]
    Absent {
        /// Where it was looked for.
        path: PathBuf,
    },
    /// Something of it cannot be read.
    #[error("Template: cannot read {path}: {source}")]
    Unreadable {
        /// The file or directory.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// Somebody else could have changed it.
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
    #[error("Template does not fit: {}", list(differences))]
    Mismatch {
        /// All differing fields; never empty.
        differences: Vec<Difference>,
    },
    /// It was made by another version of this program.
    #[error("Template has format version {found}, this program reads {FORMAT_VERSION}")]
    FormatVersion {
        /// The manifest's.
        found: u32,
    },
    /// Too many restores in a row failed.
    #[error("Template is set aside after {failures} failed restores in a row, the last: {last}")]
    SetAside {
        /// How many.
        failures: usize,
        /// Reason of the last one.
        last: String,
    },
}

impl Unfit {
    /// For an error while `path` was opened or read: absence is damage here, since only things that
    /// a template consists of are read.
    pub(crate) fn unreadable(path: &Path, source: io::Error) -> Self {
        match source.kind() {
            io::ErrorKind::NotFound => Self::Damaged {
                what: format!("{} is missing", path.display()),
            },
            _ => Self::Unreadable {
                path: path.to_owned(),
                source,
            },
        }
    }

    /// A short stable word for the reason, for counters.
    pub fn label(&self) -> &'static str {
        match self {
            Self::Absent { .. } => "absent",
            Self::Unreadable { .. } => "unreadable",
            Self::NotPrivate { .. } => "not-private",
            Self::Damaged { .. } => "damaged",
            Self::Mismatch { .. } => "mismatch",
            Self::FormatVersion { .. } => "format-version",
            Self::SetAside { .. } => "set-aside",
        }
    }
}

fn list(differences: &[Difference]) -> String {
    let texts: Vec<_> = differences.iter().map(ToString::to_string).collect();
    texts.join("; ")
}

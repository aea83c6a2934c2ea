//! Why a VM is booted and not restored, and the reasons as stable words.

use std::{fmt, path::PathBuf};

use serde::{Deserialize, Serialize};

use super::facts::FailedWay;
use crate::unusable::Unusable;

/// Why a VM is booted. A plain value; its text is for the log and for an operator.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum BootReason {
    /// The configuration says so.
    #[error("Templates are not enabled")]
    Disabled,
    /// The VMM cannot do it.
    #[error("VMM {vmm} cannot restore a VM copy-on-write")]
    NotSupported {
        /// Its name.
        vmm: &'static str,
    },
    /// A file that the VM would be made from cannot be looked at.
    #[error("Cannot check templates: cannot read {path}: {why}")]
    Unknown {
        /// The file.
        path: PathBuf,
        /// The system's words.
        why: String,
    },
    /// There is no template, or none can be used.
    #[error(transparent)]
    NoTemplate(Unusable),
    /// A restore was tried.
    #[error("Restore failed: {reason}")]
    RestoreFailed {
        /// Of which template.
        template_key: String,
        /// In which step, and why.
        reason: String,
    },
    /// A VM was restored, and did not grow to the size that its pod needs.
    #[error("Resizing the restored VM failed: {reason}")]
    NotGrown {
        /// Of which template.
        template_key: String,
        /// The VMM's or the agent's words.
        reason: String,
    },
}

impl BootReason {
    /// A short stable word for the reason, for counters.
    #[must_use]
    pub fn label(&self) -> ReasonLabel {
        match self {
            Self::Disabled => ReasonLabel::Disabled,
            Self::NotSupported { .. } => ReasonLabel::NotSupported,
            Self::Unknown { .. } => ReasonLabel::Unknown,
            Self::NoTemplate(unusable) => label_of(unusable),
            Self::RestoreFailed { .. } => ReasonLabel::RestoreFailed,
            Self::NotGrown { .. } => ReasonLabel::NotGrown,
        }
    }

    /// Key of the template that was tried, if one was.
    #[must_use]
    pub fn template_key(&self) -> Option<&str> {
        match self {
            Self::RestoreFailed { template_key, .. } | Self::NotGrown { template_key, .. } => {
                Some(template_key)
            }
            _ => None,
        }
    }
}

/// The label of the reason why a template cannot be used.
fn label_of(unusable: &Unusable) -> ReasonLabel {
    match unusable {
        Unusable::Absent { .. } => ReasonLabel::Absent,
        Unusable::Unreadable { .. } => ReasonLabel::Unreadable,
        Unusable::NotPrivate { .. } => ReasonLabel::NotPrivate,
        Unusable::Damaged { .. } => ReasonLabel::Damaged,
        Unusable::Mismatch { .. } => ReasonLabel::Mismatch,
        Unusable::FormatVersion { .. } => ReasonLabel::FormatVersion,
        Unusable::SetAside { .. } => ReasonLabel::SetAside,
    }
}

impl From<FailedWay> for BootReason {
    fn from(failed: FailedWay) -> Self {
        match failed {
            FailedWay::Restore {
                template_key,
                reason,
            } => Self::RestoreFailed {
                template_key,
                reason,
            },
            FailedWay::Grow {
                template_key,
                reason,
            } => Self::NotGrown {
                template_key,
                reason,
            },
        }
    }
}

/// The labels, each with its word: what is not in this list does not exist, so that the tests can go
/// through all of them.
macro_rules! labels {
    ($($(#[$doc:meta])* $label:ident = $word:literal,)*) => {
        /// The reason for a way to start, as one stable word: in metrics, counts and reports.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        pub enum ReasonLabel {
            $($(#[$doc])* #[serde(rename = $word)] $label,)*
        }

        impl ReasonLabel {
            /// All of them.
            pub const ALL: &[Self] = &[$(Self::$label),*];

            /// The word.
            #[must_use]
            pub fn as_str(self) -> &'static str {
                match self {
                    $(Self::$label => $word,)*
                }
            }
        }
    };
}

labels! {
    /// Restored: the template matches.
    Match = "match",
    /// Booted: templates are not enabled.
    Disabled = "disabled",
    /// Booted: the VMM cannot restore.
    NotSupported = "not-supported",
    /// Booted: whether a template matches cannot be told.
    Unknown = "unknown",
    /// Booted: there is no template.
    Absent = "absent",
    /// Booted: the template cannot be read.
    Unreadable = "unreadable",
    /// Booted: another user could have changed the template.
    NotPrivate = "not-private",
    /// Booted: the template is not what was saved.
    Damaged = "damaged",
    /// Booted: the template was made from something else.
    Mismatch = "mismatch",
    /// Booted: the template is of another version.
    FormatVersion = "format-version",
    /// Booted: the template's last restores all failed.
    SetAside = "set-aside",
    /// Booted: a restore was tried, and failed.
    RestoreFailed = "restore-failed",
    /// Booted: a restored VM did not grow.
    NotGrown = "not-grown",
}

impl fmt::Display for ReasonLabel {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

//! The reasons why a VM is booted and not restored, and their labels.

use std::{fmt, path::PathBuf};

use serde::{Deserialize, Serialize};

use super::facts::FailedWay;
use crate::unusable::Unusable;

/// Why a VM is booted and not restored. A plain value; its text is for the log and for an operator.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum BootReason {
    /// The configuration does not enable templates.
    #[error("Templates are not enabled")]
    Disabled,
    /// The VMM cannot restore a VM whose memory is a private mapping.
    #[error("VMM {vmm} cannot restore a VM copy-on-write")]
    NotSupported {
        /// The name of the VMM.
        vmm: &'static str,
    },
    /// A file that the VM is made from cannot be read.
    #[error("Cannot check templates: cannot read {path}: {why}")]
    Unknown {
        /// The file that cannot be read.
        path: PathBuf,
        /// The error of the operating system, in words.
        why: String,
    },
    /// There is no template, or none can be used.
    #[error(transparent)]
    NoTemplate(Unusable),
    /// A restore was tried, and failed.
    #[error("Restore failed: {reason}")]
    RestoreFailed {
        /// Key of the template that was tried.
        template_key: String,
        /// The step that failed, and why.
        reason: String,
    },
    /// A VM was restored, and did not grow to the size that its pod needs.
    #[error("Resizing the restored VM failed: {reason}")]
    NotGrown {
        /// Key of the template whose clone it was.
        template_key: String,
        /// The error of the VMM or of the agent.
        reason: String,
    },
}

impl BootReason {
    /// The label of the reason, for metrics and counts.
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

/// Makes the enum of labels from the list of their words, and a list of all of them for the tests.
macro_rules! labels {
    ($($(#[$doc:meta])* $label:ident = $word:literal,)*) => {
        /// The reason for a way to start, as one word that does not change: for metrics, counts and
        /// reports.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        pub enum ReasonLabel {
            $($(#[$doc])* #[serde(rename = $word)] $label,)*
        }

        impl ReasonLabel {
            /// All labels, in their order.
            pub const ALL: &[Self] = &[$(Self::$label),*];

            /// The label as it is written, as in `not-private`.
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
    /// Booted: whether a template matches cannot be checked.
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
    /// Booted: the template has another format version.
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

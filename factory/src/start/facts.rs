//! Everything that decides how a VM starts, as plain values.

use std::path::PathBuf;

use hypervisors::{Capabilities, VmSize};

use crate::{mismatch::Mismatch, unusable::Unusable};

/// Everything that decides how a VM starts. [`decide`](super::decide) needs nothing else.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Facts {
    /// `enable_template` of the configuration.
    pub templates_enabled: bool,
    /// Name of the VMM.
    pub vmm: &'static str,
    /// What the probed VMM can do.
    pub can: Capabilities,
    /// The configured size: that of a pod that asks for nothing. No VM is smaller.
    pub base: VmSize,
    /// The size that the pod needs: in each part at least `base`.
    pub wanted: VmSize,
    /// The size that the VM must be able to grow to.
    pub max: VmSize,
    /// Whether the configuration allows VMs to be resized.
    pub may_grow: bool,
    /// How many disk slots a VM has.
    pub slots: u32,
    /// Size of each disk slot in bytes.
    pub slot_bytes: u64,
    /// Length of the first container's image in bytes; `None` if there is none that could be in a
    /// slot, or it is not prepared yet.
    pub first_image: Option<u64>,
    /// The directory in which templates are searched; empty if they are not enabled.
    pub template_path: PathBuf,
    /// The templates that were found.
    pub templates: Templates,
    /// The ways that were tried for this VM and failed, in the order in which they were tried.
    pub failed: Vec<FailedWay>,
}

/// What is known of the node's templates.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Templates {
    /// They were not searched, since none could be used. See [`Facts::needs_templates`].
    NotSearched,
    /// A file that the VM is made from cannot be read, so nothing can be compared.
    Unknown {
        /// The file that cannot be read.
        path: PathBuf,
        /// The error of the operating system, in words.
        why: String,
    },
    /// The templates in the directory; none, if it is empty.
    Found(Vec<Found>),
}

/// A template as it was found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Found {
    /// A template whose manifest can be read.
    Template(Candidate),
    /// A template that cannot be read, or the directory of all templates.
    Unusable(Unusable),
}

/// A template whose manifest could be read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Candidate {
    /// SHA-256 of what it was made from, in hex. Templates with the same key can replace each
    /// other.
    pub key: String,
    /// When it was made, in seconds since the epoch.
    pub created: u64,
    /// The size that its clones have when they are restored.
    pub size: VmSize,
    /// The size that its clones can grow to.
    pub max_size: VmSize,
    /// The parts in which it was made from something else than this VM. Sizes are not among them.
    pub mismatches: Vec<Mismatch>,
    /// Whether its files are what was saved.
    pub condition: Condition,
}

/// Whether a template's files are what was saved, and its restores succeed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Condition {
    /// Its files were not checked, since it does not match or a better one is good.
    Unchecked,
    /// Its files are what was saved, and its last restores did not all fail.
    Good,
    /// It cannot be used, for this reason.
    Bad(Unusable),
}

/// A way to start that was tried and failed. Nothing of it is left.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum FailedWay {
    /// A template could not be restored.
    Restore {
        /// Key of the template that was tried.
        template_key: String,
        /// The step that failed, and why.
        reason: String,
    },
    /// A restored VM did not grow to the size that its pod needs.
    Grow {
        /// Key of the template whose clone it was.
        template_key: String,
        /// The error of the VMM or of the agent.
        reason: String,
    },
}

impl Facts {
    /// Whether the decision depends on which templates there are.
    #[must_use]
    pub fn needs_templates(&self) -> bool {
        self.templates_enabled && self.can.private_file_restore
    }
}

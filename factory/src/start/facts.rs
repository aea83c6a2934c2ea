//! All that decides how a VM starts, as plain values.

use std::path::PathBuf;

use hypervisors::{Capabilities, VmSize};

use crate::{mismatch::Mismatch, unusable::Unusable};

/// All that decides how a VM starts. [`decide`](super::decide) needs nothing else.
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
    /// Whether VMs are resized at all; not where the configuration fixes their size.
    pub may_grow: bool,
    /// How many disk slots a VM has.
    pub slots: u32,
    /// Size of each disk slot in bytes.
    pub slot_bytes: u64,
    /// Content of the first container's image in bytes; `None`: there is none that could be in a slot,
    /// or it is not known yet.
    pub first_image: Option<u64>,
    /// Where templates are looked for.
    pub template_path: PathBuf,
    /// The templates that were found.
    pub templates: Templates,
    /// The ways that were tried for this VM and failed, in their order.
    pub failed: Vec<FailedWay>,
}

/// What is known of the node's templates.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Templates {
    /// Nothing, since none could be used. See [`Facts::needs_templates`].
    NotLookedFor,
    /// A file that the VM would be made from cannot be looked at, so nothing can be compared.
    Unknown {
        /// The file.
        path: PathBuf,
        /// The system's words.
        why: String,
    },
    /// What lies in the directory; nothing, if it is empty.
    Found(Vec<Found>),
}

/// A template as it was found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Found {
    /// One whose manifest can be read.
    Template(Candidate),
    /// One that cannot be read, or the directory of all of them.
    Unusable(Unusable),
}

/// A template whose manifest could be read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Candidate {
    /// Digest of what it was made from. Of two with the same key either will do.
    pub key: String,
    /// When it was made, in seconds since the epoch.
    pub created: u64,
    /// The size of its clones.
    pub size: VmSize,
    /// The size that its clones can grow to.
    pub max_size: VmSize,
    /// Where it was made from something else than this VM would be; sizes are not in it.
    pub mismatches: Vec<Mismatch>,
    /// Whether it can be relied on.
    pub condition: Condition,
}

/// Whether a template can be relied on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Condition {
    /// Not looked at: it does not match, or a better one is good.
    Unchecked,
    /// Its files are what was saved, and its last restores did not all fail.
    Good,
    /// It cannot be used.
    Bad(Unusable),
}

/// A way to start that was tried and led to no VM. Nothing of it is left.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum FailedWay {
    /// A restore.
    Restore {
        /// Of which template.
        template_key: String,
        /// In which step, and why.
        reason: String,
    },
    /// A restored VM did not grow to the size that its pod needs.
    Grow {
        /// Of which template.
        template_key: String,
        /// The VMM's or the agent's words.
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

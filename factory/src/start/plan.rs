//! The plan: how a VM will be started.

use hypervisors::VmSize;
use serde::{Deserialize, Serialize};

use super::reason::BootReason;

/// How a VM will be started.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Plan {
    /// The size that the VM has when it is handed out.
    pub size: VmSize,
    /// How the VM gets its first container's root disk.
    pub first_disk: FirstDisk,
    /// Whether it is restored or booted.
    pub way: Way,
}

/// A way to start a VM.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Way {
    /// Restore a template, and make the clone unique.
    Restore {
        /// Key of the template to restore.
        key: String,
        /// The size that the clone has to grow to before it is handed out; `None` if the template
        /// is large enough.
        grow_to: Option<VmSize>,
    },
    /// Boot from the kernel.
    Boot {
        /// Why no template is restored.
        reason: BootReason,
    },
}

/// How a VM gets the root disk of its first container.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum FirstDisk {
    /// It is in the VM's first disk slot from the VM's start.
    InSlot,
    /// It is attached to the running VM: it was not prepared yet, or it is too large for a slot.
    Later,
}

//! What will be done.

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
    /// The way to it.
    pub way: Way,
}

/// A way to a VM that is ready for containers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Way {
    /// Restore a template.
    Restore {
        /// Key of the template.
        key: String,
        /// The size that the clone has to grow to before it is handed out; `None`: it has that size.
        grow_to: Option<VmSize>,
    },
    /// Boot.
    Boot {
        /// Why not another way.
        reason: BootReason,
    },
}

/// How a VM gets the root disk of its first container.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum FirstDisk {
    /// It is in the VM's first disk slot from the VM's start.
    InSlot,
    /// The running VM gets it: there is none yet, or it does not fit into a slot.
    Later,
}

//! The size of a VM: the one type for what a pod wants, what a template has and what a VM grew to.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::VmSpec;

/// The size of a VM. Ordered by what it costs: memory first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct VmSize {
    /// Memory of the guest in MiB.
    pub memory_mib: u32,
    /// Number of vCPUs, at least 1.
    pub vcpus: u32,
}

impl VmSize {
    /// Whether there is as much of everything as in `other`.
    #[must_use]
    pub fn covers(self, other: Self) -> bool {
        self.vcpus >= other.vcpus && self.memory_mib >= other.memory_mib
    }

    /// The larger of both, in each.
    #[must_use]
    pub fn or(self, other: Self) -> Self {
        Self {
            vcpus: self.vcpus.max(other.vcpus),
            memory_mib: self.memory_mib.max(other.memory_mib),
        }
    }
}

impl fmt::Display for VmSize {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let plural = if self.vcpus == 1 { "" } else { "s" };
        write!(f, "{} vCPU{plural}, {} MiB", self.vcpus, self.memory_mib)
    }
}

impl VmSpec {
    /// The size that the VM has at its start.
    #[must_use]
    pub fn size(&self) -> VmSize {
        VmSize {
            memory_mib: self.memory.mib,
            vcpus: self.vcpus,
        }
    }

    /// The size that the VM can grow to.
    #[must_use]
    pub fn max_size(&self) -> VmSize {
        VmSize {
            memory_mib: self.memory.max_mib,
            vcpus: self.max_vcpus,
        }
    }

    /// The same VM with another size at its start.
    #[must_use]
    pub fn with_size(mut self, size: VmSize) -> Self {
        self.vcpus = size.vcpus;
        self.memory.mib = size.memory_mib;
        self
    }
}

#[cfg(test)]
mod tests {
    use super::VmSize;

    #[test]
    fn memory_costs_more_than_a_vcpu() {
        let size = |vcpus, memory_mib| VmSize { memory_mib, vcpus };
        let mut sizes = [size(1, 512), size(4, 256), size(2, 512)];
        sizes.sort_unstable();
        assert_eq!(sizes, [size(4, 256), size(1, 512), size(2, 512)]);
        assert_eq!(sizes[0].or(sizes[1]), size(4, 512));
        assert!(sizes[2].covers(sizes[1]) && !sizes[0].covers(sizes[1]));
        let texts = sizes.map(|size| size.to_string());
        assert_eq!(texts[0], "4 vCPUs, 256 MiB");
        assert_eq!(texts[1], "1 vCPU, 512 MiB");
    }
}

//! How large VMs are made, as plain values.

use std::fmt;

use super::Config;

/// The size of a VM.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Shape {
    /// vCPUs.
    pub vcpus: u32,
    /// Memory in MiB.
    pub memory_mib: u32,
}

impl Shape {
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

impl fmt::Display for Shape {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} vCPUs and {} MiB", self.vcpus, self.memory_mib)
    }
}

/// The rules by which VMs are sized.
///
/// A VM has the configured size, which is also its template's, unless its pod asks for more: then
/// it has what the pod asks for, and what guest and monitor need beside that. A pod that fits into
/// the configured size therefore never waits for a resize.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Sizing {
    /// The configured size.
    pub base: Shape,
    /// The largest size.
    pub most: Shape,
    /// vCPUs beside those for the pod.
    pub overhead_vcpus: f64,
    /// MiB beside those for the pod.
    pub overhead_memory_mib: u32,
    /// A VM keeps the size it was started with.
    pub fixed: bool,
}

impl Config {
    /// The rules by which its VMs are sized.
    #[must_use]
    pub fn sizing(&self) -> Sizing {
        let hypervisor = &self.hypervisor;
        Sizing {
            base: Shape {
                vcpus: hypervisor.vcpus,
                memory_mib: hypervisor.memory_mib,
            },
            most: Shape {
                vcpus: hypervisor.max_vcpus.max(hypervisor.vcpus),
                memory_mib: hypervisor.max_memory_mib.max(hypervisor.memory_mib),
            },
            overhead_vcpus: hypervisor.overhead_vcpus,
            overhead_memory_mib: hypervisor.overhead_memory_mib,
            fixed: self.runtime.static_sandbox_resource_mgmt,
        }
    }
}

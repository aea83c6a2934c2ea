//! How large a VM is made for what its pod asks for.

use super::Demand;
use crate::config::Config;

const MIB: u64 = 1 << 20;
/// Memory is added in blocks of this size: what a guest can take while it runs.
const BLOCK_MIB: u32 = 128;
/// Of so many bytes of memory, a kernel needs one to keep account of them (64 bytes for each page of
/// 4 KiB).
const ACCOUNT: u64 = 64;

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

/// A size, and whether it is what was asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Fit {
    /// The size.
    pub shape: Shape,
    /// More was asked for than a VM may have.
    pub clipped: bool,
}

impl Sizing {
    /// The rules of a configuration.
    #[must_use]
    pub fn of(config: &Config) -> Self {
        let hypervisor = &config.hypervisor;
        Self {
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
            fixed: config.runtime.static_sandbox_resource_mgmt,
        }
    }

    /// The size for what a pod asks for.
    #[must_use]
    pub fn shape(&self, demand: Demand) -> Fit {
        let vcpus = self.vcpus(demand.cpu_millis);
        let (memory_mib, memory_clipped) = self.memory(demand.memory_bytes);
        Fit {
            shape: Shape {
                vcpus: vcpus.clamp(self.base.vcpus, self.most.vcpus),
                memory_mib,
            },
            clipped: memory_clipped || vcpus > self.most.vcpus,
        }
    }

    fn vcpus(&self, millis: u64) -> u32 {
        if millis == 0 {
            return 0;
        }
        // A conversion from floating point saturates.
        (millis as f64 / 1000.0 + self.overhead_vcpus).ceil() as u32
    }

    fn memory(&self, bytes: u64) -> (u32, bool) {
        let base = self.base.memory_mib;
        if bytes == 0 {
            return (base, false);
        }
        let pod = bytes.div_ceil(MIB);
        let wanted = pod + pod / ACCOUNT + u64::from(self.overhead_memory_mib);
        let blocks = wanted
            .saturating_sub(u64::from(base))
            .div_ceil(u64::from(BLOCK_MIB));
        let room = self.most.memory_mib.saturating_sub(base) / BLOCK_MIB;
        let taken = u32::try_from(blocks).unwrap_or(u32::MAX).min(room);
        (base + taken * BLOCK_MIB, blocks > u64::from(room))
    }
}

//! How large a VM is made for what its pod asks for.

use hypervisors::VmSize;

use super::Demand;
use crate::config::Config;

const MIB: u64 = 1 << 20;
/// Memory is added in blocks of this size: what a guest can take while it runs.
const BLOCK_MIB: u32 = 128;
/// Of so many bytes of memory, a kernel needs one to keep account of them (64 bytes for each page of
/// 4 KiB).
const ACCOUNT: u64 = 64;

/// The rules by which VMs are sized.
///
/// A VM has the configured size, which is also its template's, unless its pod asks for more: then
/// it has what the pod asks for, and what guest and monitor need beside that. A pod that fits into
/// the configured size therefore never waits for a resize.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Sizing {
    /// The configured size.
    pub base: VmSize,
    /// The largest size.
    pub most: VmSize,
    /// vCPUs beside those for the pod.
    pub overhead_vcpus: f64,
    /// MiB beside those for the pod.
    pub overhead_memory_mib: u32,
    /// A VM keeps the size it was started with.
    pub fixed: bool,
}

/// The size of a pod's VM, and whether it is what the pod asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PodSize {
    /// The size.
    pub size: VmSize,
    /// More was asked for than a VM may have.
    pub clipped: bool,
}

impl Sizing {
    /// The rules of a configuration.
    #[must_use]
    pub fn of(config: &Config) -> Self {
        let hypervisor = &config.hypervisor;
        Self {
            base: VmSize {
                vcpus: hypervisor.vcpus,
                memory_mib: hypervisor.memory_mib,
            },
            most: VmSize {
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
    pub fn size(&self, demand: Demand) -> PodSize {
        let vcpus = self.vcpus(demand.cpu_millis);
        let (memory_mib, memory_clipped) = self.memory(demand.memory_bytes);
        PodSize {
            size: VmSize {
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

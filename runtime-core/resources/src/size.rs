//! The size of a VM for what its pod asks for.

use config::Sizing;
use hypervisors::VmSize;

use super::Demand;

const MIB: u64 = 1 << 20;
/// Memory is added in blocks of this size, which a running guest can hot-plug.
const BLOCK_MIB: u32 = 128;
/// The kernel needs this fraction of its memory to manage it (64 bytes for each page of 4 KiB).
const KERNEL_FRACTION: u64 = 64;

/// The size of a pod's VM, and whether it is what the pod asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PodSize {
    /// The size that the VM gets.
    pub size: VmSize,
    /// Whether more was asked for than a VM may have.
    pub clipped: bool,
}

impl Demand {
    /// The size of a VM for what its pod asks for.
    #[must_use]
    pub fn size(self, sizing: &Sizing) -> PodSize {
        let vcpus = vcpus(sizing, self.cpu_millis);
        let (memory_mib, memory_clipped) = memory(sizing, self.memory_bytes);
        PodSize {
            size: VmSize {
                vcpus: vcpus.clamp(sizing.base.vcpus, sizing.most.vcpus),
                memory_mib,
            },
            clipped: memory_clipped || vcpus > sizing.most.vcpus,
        }
    }
}

fn vcpus(sizing: &Sizing, millis: u64) -> u32 {
    if millis == 0 {
        return 0;
    }
    // The conversion saturates.
    (millis as f64 / 1000.0 + sizing.overhead_vcpus).ceil() as u32
}

fn memory(sizing: &Sizing, bytes: u64) -> (u32, bool) {
    let base = sizing.base.memory_mib;
    if bytes == 0 {
        return (base, false);
    }
    let pod = bytes.div_ceil(MIB);
    let wanted = pod + pod / KERNEL_FRACTION + u64::from(sizing.overhead_memory_mib);
    let blocks = wanted
        .saturating_sub(u64::from(base))
        .div_ceil(u64::from(BLOCK_MIB));
    let room = sizing.most.memory_mib.saturating_sub(base) / BLOCK_MIB;
    let taken = u32::try_from(blocks).unwrap_or(u32::MAX).min(room);
    (base + taken * BLOCK_MIB, blocks > u64::from(room))
}

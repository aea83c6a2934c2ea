//! How large VMs are.

use hypervisors::VmSize;

use super::Config;

/// The rules by which VMs are sized.
///
/// A VM has the configured size, which is also its template's, unless its pod asks for more. Then
/// it has what the pod asks for, plus the overhead of guest and VMM. So a pod that fits into the
/// configured size never waits for a resize.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Sizing {
    /// The configured size, `default_vcpus` and `default_memory`.
    pub base: VmSize,
    /// The largest size of a VM.
    pub most: VmSize,
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
            fixed: self.runtime.static_sandbox_resource_mgmt,
        }
    }
}

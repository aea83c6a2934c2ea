//! Growing a clone to the size that its pod needs, before it is handed out.
//!
//! All or nothing: a clone that grew only in part is ended, and its pod booted. (A pod that grows
//! while it runs keeps the size that it reached.)

use agent_client::agent::OnlineCPUMemRequest;
use hypervisors::VmSize;
use system::error::chain;

use super::Ready;

/// Lets a clone of the size `from` grow to `to`, and its guest use all of it. Returns the size that
/// it has then.
///
/// # Errors
/// The VMM or the agent refused. The VM goes on running, at a size that is not known.
pub(super) async fn grow(clone: &Ready, from: VmSize, to: VmSize) -> Result<VmSize, String> {
    let Ready { vm, agent } = clone;
    let failed = |error: &dyn std::error::Error| {
        format!("the VM cannot grow from {from} to {to}: {}", chain(error))
    };
    let mut now = from;
    if to.memory_mib > from.memory_mib {
        let grown = vm.resize_memory(to.memory_mib).await;
        now.memory_mib = grown.map_err(|error| failed(&error))?;
    }
    if to.vcpus > from.vcpus {
        let grown = vm.resize_vcpus(to.vcpus).await;
        grown.map_err(|error| failed(&error))?;
        now.vcpus = to.vcpus;
    }
    let request = OnlineCPUMemRequest {
        wait: true,
        nb_cpus: now.vcpus,
        cpu_only: now.memory_mib == from.memory_mib,
        ..Default::default()
    };
    let online = agent.online_cpu_mem(request).await;
    online.map_err(|error| failed(&error))?;
    Ok(now)
}

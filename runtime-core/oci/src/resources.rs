//! Limits of a container inside its guest.

use agent_client::oci as wire;
use oci_spec::runtime as host;

/// Resources for the guest.
pub(super) struct GuestResources {
    pub(super) resources: wire::LinuxResources,
    /// Names of the parts that were set and that the guest does not get.
    pub(super) left_out: Vec<&'static str>,
}

/// Passes on limits of memory, CPU time, process counts and huge pages. Block I/O, network classes
/// and the choice of CPUs and nodes are about the host and are left out, as Kata does; the agent's
/// API has no field for the rest. For device rules see [`super::devices`].
pub(super) fn guest_resources(host: &host::LinuxResources) -> GuestResources {
    let cpu = host.cpu().as_ref();
    let memory = host.memory().as_ref();
    let left_out = [
        (host.block_io().is_some(), "blockIO"),
        (host.network().is_some(), "network"),
        (host.rdma().is_some(), "rdma"),
        (
            host.unified().as_ref().is_some_and(|map| !map.is_empty()),
            "unified",
        ),
        (cpu.is_some_and(|cpu| cpu.idle().is_some()), "cpu.idle"),
        (cpu.is_some_and(|cpu| cpu.burst().is_some()), "cpu.burst"),
    ]
    .into_iter()
    .filter_map(|(present, name)| present.then_some(name))
    .collect();
    GuestResources {
        resources: wire::LinuxResources {
            Memory: memory.map(guest_memory).into(),
            CPU: cpu.map(guest_cpu).into(),
            Pids: host.pids().as_ref().map(guest_pids).into(),
            HugepageLimits: host
                .hugepage_limits()
                .iter()
                .flatten()
                .map(hugepages)
                .collect(),
            ..Default::default()
        },
        left_out,
    }
}

fn guest_memory(memory: &host::LinuxMemory) -> wire::LinuxMemory {
    wire::LinuxMemory {
        Limit: memory.limit().unwrap_or_default(),
        Reservation: memory.reservation().unwrap_or_default(),
        Swap: memory.swap().unwrap_or_default(),
        Kernel: memory.kernel().unwrap_or_default(),
        KernelTCP: memory.kernel_tcp().unwrap_or_default(),
        Swappiness: memory.swappiness().unwrap_or_default(),
        DisableOOMKiller: memory.disable_oom_killer().unwrap_or_default(),
        ..Default::default()
    }
}

fn guest_cpu(cpu: &host::LinuxCpu) -> wire::LinuxCPU {
    wire::LinuxCPU {
        Shares: cpu.shares().unwrap_or_default(),
        Quota: cpu.quota().unwrap_or_default(),
        Period: cpu.period().unwrap_or_default(),
        RealtimeRuntime: cpu.realtime_runtime().unwrap_or_default(),
        RealtimePeriod: cpu.realtime_period().unwrap_or_default(),
        ..Default::default()
    }
}

fn guest_pids(pids: &host::LinuxPids) -> wire::LinuxPids {
    wire::LinuxPids {
        Limit: pids.limit(),
        ..Default::default()
    }
}

fn hugepages(limit: &host::LinuxHugepageLimit) -> wire::LinuxHugepageLimit {
    wire::LinuxHugepageLimit {
        Pagesize: limit.page_size().clone(),
        Limit: u64::try_from(limit.limit()).unwrap_or_default(),
        ..Default::default()
    }
}

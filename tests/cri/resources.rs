//! Limits, their change, and what is told of use.

use e2e_tests::harness::Case;
use playground::{
    Result,
    cri::{ContainerState, Kubelet, api},
    ensure,
    node::Node,
};

use crate::pods::{SERVICE, same, service};

pub fn cases() -> Vec<Case> {
    vec![
        Case::new(
            "resources::limits_hold_in_the_guest_and_can_be_changed",
            limits,
        ),
        Case::new(
            "resources::too_much_memory_ends_the_container_as_oom_killed",
            oom,
        ),
        Case::new("resources::stats_of_containers_and_pods", stats),
    ]
}

pub const MIB: i64 = 1 << 20;

/// Reads a container's own limit, whichever version of cgroups its VM has.
pub const MEMORY: &str =
    "cat /sys/fs/cgroup/memory.max 2>/dev/null || cat /sys/fs/cgroup/memory/memory.limit_in_bytes";
const CPU: &str = "cat /sys/fs/cgroup/cpu.max 2>/dev/null || \
                   echo $(cat /sys/fs/cgroup/cpu/cpu.cfs_quota_us) \
                   $(cat /sys/fs/cgroup/cpu/cpu.cfs_period_us)";

pub fn limited(memory: i64, quota: i64) -> api::LinuxContainerResources {
    let mut resources = api::LinuxContainerResources::new();
    resources.memory_limit_in_bytes = memory;
    resources.cpu_quota = quota;
    resources.cpu_period = 100_000;
    resources
}

fn limits(node: &Node) -> Result<()> {
    let kubelet = Kubelet::new(node);
    let pod = kubelet.run("limits")?;
    let container = pod.start_with("limits", SERVICE, |config| {
        let linux = config.linux.mut_or_insert_default();
        linux.resources = protobuf::MessageField::some(limited(64 * MIB, 50_000));
    })?;
    same("Memory", &container.shell(MEMORY)?, &(64 * MIB).to_string())?;
    same("CPU", &container.shell(CPU)?, "50000 100000")?;
    kubelet
        .cri()
        .update(container.id(), limited(96 * MIB, 80_000))?;
    same(
        "Memory, changed",
        &container.shell(MEMORY)?,
        &(96 * MIB).to_string(),
    )?;
    same("CPU, changed", &container.shell(CPU)?, "80000 100000")?;
    pod.remove()
}

fn oom(node: &Node) -> Result<()> {
    let kubelet = Kubelet::new(node);
    let pod = kubelet.run("oom")?;
    // Grows step by step: a request that is larger than the VM would be refused, not killed.
    let script = "exec awk 'BEGIN { text = \"12345678\"; while (1) text = text text }'";
    let container = pod.start_with("oom", script, |config| {
        let linux = config.linux.mut_or_insert_default();
        linux.resources = protobuf::MessageField::some(limited(24 * MIB, 0));
    })?;
    let ended = container.ended()?;
    ensure!(
        ended.state == ContainerState::Exited as i32 && ended.exit_code == 137,
        "{ended}"
    );
    ensure!(ended.reason == "OOMKilled", "{ended}");
    pod.remove()
}

fn stats(node: &Node) -> Result<()> {
    let kubelet = Kubelet::new(node);
    let cri = kubelet.cri();
    let pod = kubelet.run("stats")?;
    let container = service(&pod)?;
    container.shell("i=0; while [ $i -lt 20000 ]; do i=$((i+1)); done")?;
    let stats = cri.stats(container.id())?;
    let used = |stats: &api::ContainerStats| stats.cpu.usage_core_nano_seconds.value;
    ensure!(
        used(&stats) > 0 && stats.memory.working_set_bytes.value > 0,
        "{stats}"
    );
    ensure!(stats.attributes.id == container.id(), "{stats}");
    let listed = cri.stats_of_pod(pod.id())?;
    ensure!(
        listed.len() == 1 && used(&listed[0]) >= used(&stats),
        "{listed:?}"
    );
    // Pods' statistics are read from the host's cgroups, which not every containerd and host give.
    match cri.pod_stats(pod.id()) {
        Ok(stats) => println!("    {stats}"),
        Err(error) => println!("    no statistics of pods here: {}", error.chain()),
    }
    pod.remove()
}

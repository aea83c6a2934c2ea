//! The size of a pod's VM, and its place on the host.

use std::fs;

use e2e_tests::harness::Case;
use playground::{
    Result,
    cri::{Container, Kubelet},
    ensure,
    node::Node,
    settings::VmmKind,
};

use crate::{
    pods::{same, service},
    resources::{MEMORY, MIB, limited},
};

pub fn cases() -> Vec<Case> {
    vec![
        Case::new(
            "sizing::a_pod_that_asks_for_more_has_a_larger_vm",
            announced,
        ),
        Case::new("sizing::a_vm_grows_with_the_limits_of_its_pod", growing),
        Case::new("sizing::more_than_the_node_has_is_refused", refused),
        Case::new("sizing::vmm_and_shim_are_in_the_pods_cgroup", confined),
    ]
}

/// CPUs, and memory in MiB, as the guest has them.
fn seen(container: &Container<'_>) -> Result<(u32, i64)> {
    let number = |script: &str| Ok(container.shell(script)?.trim().parse().unwrap_or_default());
    let cpus: i64 = number("grep -c ^processor /proc/cpuinfo")?;
    let kib: i64 = number("awk '/^MemTotal/ { print $2 }' /proc/meminfo")?;
    Ok((u32::try_from(cpus).unwrap_or_default(), kib / 1024))
}

/// The host has two CPUs at least.
fn announced(node: &Node) -> Result<()> {
    let kubelet = Kubelet::new(node);
    let mark = node.mark();
    let pod = kubelet.run_with("large", |config| {
        let linux = config.linux.mut_or_insert_default();
        linux.resources = protobuf::MessageField::some(limited(400 * MIB, 150_000));
    })?;
    println!("    {:?}", node.start_since(mark)?);
    let container = service(&pod)?;
    let (cpus, mib) = seen(&container)?;
    ensure!(cpus == 2 && mib >= 400, "{cpus} CPUs and {mib} MiB");
    pod.remove()
}

fn growing(node: &Node) -> Result<()> {
    let kubelet = Kubelet::new(node);
    let mark = node.mark();
    let pod = kubelet.run("growing")?;
    let container = service(&pod)?;
    let (cpus, before) = seen(&container)?;
    ensure!(cpus == 1 && before < 256, "{cpus} CPUs and {before} MiB");
    let cri = kubelet.cri();
    let grown = cri.update(container.id(), limited(500 * MIB, 200_000));
    // Its memory is in a file, beside which this VMM attaches none.
    let fixed = VmmKind::chosen() == VmmKind::CloudHypervisor
        && node.start_since(mark)?.path.as_str() == "restored";
    let memory = if fixed {
        let words = grown.err().map(|error| error.to_string());
        let told = words
            .as_ref()
            .is_some_and(|words| words.contains("cannot grow"));
        ensure!(told, "{words:?}");
        ensure!(seen(&container)? == (1, before), "The VM grew in part");
        cri.update(container.id(), limited(100 * MIB, 200_000))?;
        100
    } else {
        grown?;
        500
    };
    let (cpus, after) = seen(&container)?;
    let enough = if fixed {
        after == before
    } else {
        after >= memory
    };
    ensure!(cpus == 2 && enough, "{cpus} CPUs and {after} MiB");
    same(
        "The container's limit",
        &container.shell(MEMORY)?,
        &(memory * MIB).to_string(),
    )?;
    cri.update(container.id(), limited(64 * MIB, 50_000))?;
    ensure!(seen(&container)? == (2, after), "The VM shrank");
    same(
        "The container's limit",
        &container.shell(MEMORY)?,
        &(64 * MIB).to_string(),
    )?;
    pod.remove()
}

fn refused(node: &Node) -> Result<()> {
    let kubelet = Kubelet::new(node);
    let pod = kubelet.run("refused")?;
    let container = service(&pod)?;
    let cri = kubelet.cri();
    cri.update(container.id(), limited(64 * MIB, 50_000))?;
    for (memory, quota) in [(64 * MIB, 409_600_000), (1 << 50, 50_000)] {
        let error = cri.update(container.id(), limited(memory, quota));
        let words = error.err().map(|error| error.to_string());
        ensure!(
            words
                .as_ref()
                .is_some_and(|words| words.contains("cannot grow")),
            "{words:?}"
        );
    }
    same(
        "The container's limit",
        &container.shell(MEMORY)?,
        &(64 * MIB).to_string(),
    )?;
    pod.remove()
}

fn confined(node: &Node) -> Result<()> {
    let kubelet = Kubelet::new(node);
    let pod = kubelet.run("confined")?;
    let own = |process: &&playground::proc::Process| process.command.contains(pod.id());
    let (vmms, shims) = (node.vmms(), node.shims());
    for process in vmms.iter().filter(own).chain(shims.iter().filter(own)) {
        let read = |file: &str| {
            let path = format!("/proc/{}/{file}", process.pid);
            fs::read_to_string(&path).map_err(playground::Error::io("Reading", path.clone()))
        };
        let cgroups = read("cgroup")?;
        let inside = cgroups.lines().filter(|line| line.ends_with(pod.id()));
        ensure!(inside.count() > 0, "{}: {cgroups}", process.command);
        println!("    OOM score {}", read("oom_score_adj")?.trim());
    }
    ensure!(vmms.iter().any(|one| own(&one)), "There is no VMM");
    pod.remove()
}

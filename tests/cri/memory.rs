//! The memory of a pod's cgroup: what `deploy/` says that a VM takes beside its containers is
//! enough, and a pod that takes more is told so.

use std::time::Duration;

use e2e_tests::harness::Case;
use playground::{
    Error, Result,
    cri::{Container, ContainerState, Kubelet, Pod, PodMemory},
    ensure,
    node::Node,
    settings::Settings,
    wait::Deadline,
};

use crate::{
    pods::{SERVICE, service},
    resources::{MIB, limited},
    templating,
};

/// What a cluster gets.
const CLASSES: &str = include_str!("../../deploy/runtimeclass.yaml");

/// For a line of the log that is written already or about to be.
const TIMEOUT: Duration = Duration::from_secs(10);

/// `default_memory` as it is shipped: a kernel that boots takes more in a larger VM.
const DEFAULT_MIB: u32 = 2048;

/// Memory of the VMs that pods with a limit of 256 MiB are restored in without growing.
const ROOMY_MIB: u32 = 512;

pub fn cases() -> Vec<Case> {
    let small_pods = "memory::small_pods_live_in_what_kubelet_gives_them";
    let taken_vm = "memory::a_vm_that_the_host_takes_is_oom_killed";
    vec![
        Case::new(small_pods, small_in_default).booted(),
        Case::new(small_pods, small).restored(),
        Case::new(taken_vm, taken).booted(),
        Case::new(taken_vm, taken).restored(),
        Case::new("memory::a_start_that_the_host_ends_says_why", unstarted).booted(),
        Case::new(
            "memory::the_first_pods_of_a_template_use_nearly_all_they_may",
            first_pods,
        ),
    ]
}

/// The overhead of the RuntimeClass for this machine, in MiB.
fn overhead(node: &Node) -> Result<u64> {
    let checked = node.imprint(&["check"]).run()?.stdout;
    let class = if checked.contains("accelerator tcg") {
        "name: imprint-emulated"
    } else {
        "name: imprint"
    };
    let found = CLASSES
        .split("\n---\n")
        .filter(|document| document.lines().any(|line| line.trim() == class))
        .flat_map(str::lines)
        .find_map(|line| line.trim().strip_prefix("memory: ")?.strip_suffix("Mi"));
    let mib = found.and_then(|mib| mib.parse().ok());
    mib.ok_or_else(|| Error::Unexpected(format!("deploy/ has no overhead of {class}: {checked}")))
}

/// A pod in a cgroup that may use `limit` MiB, the overhead among them, and is announced as kubelet
/// does.
fn pod_within<'a>(kubelet: &'a Kubelet, name: &str, limit: u64) -> Result<(Pod<'a>, PodMemory)> {
    let mut memory = Err(Error::Unexpected("The pod was not configured".to_owned()));
    let pod = kubelet.run_with(name, |config| {
        let linux = config.linux.mut_or_insert_default();
        memory = PodMemory::make(&linux.cgroup_parent)
            .and_then(|made| made.limit(limit << 20).map(|()| made));
    });
    let memory = memory?;
    if pod.is_err()
        && let Ok(most) = memory.most()
    {
        println!(
            "    a pod that may use {limit} MiB has used {} MiB",
            most >> 20
        );
    }
    Ok((pod?, memory))
}

/// A service that may use so many MiB.
fn service_of<'a>(pod: &Pod<'a>, mib: u64) -> Result<Container<'a>> {
    let container = pod.start_with("service", SERVICE, |config| {
        let linux = config.linux.mut_or_insert_default();
        let bytes = i64::try_from(mib).unwrap_or_default() * MIB;
        linux.resources = protobuf::MessageField::some(limited(bytes, 0));
    })?;
    container.logged("up")?;
    Ok(container)
}

/// Has the container use so many MiB, at once, and give them back to its VM.
fn use_memory(container: &Container<'_>, mib: u64) -> Result<()> {
    container.shell(&format!("dd if=/dev/zero of=/dev/null bs={mib}M count=1"))?;
    Ok(())
}

fn tell(what: &str, memory: &PodMemory) -> Result<()> {
    let (used, most) = (memory.used()? >> 20, memory.most()? >> 20);
    println!("    {what}: {used} MiB in use, {most} MiB at most");
    Ok(())
}

fn small_in_default(node: &Node) -> Result<()> {
    node.configure(&Settings {
        memory_mib: DEFAULT_MIB,
        ..node.settings()
    })?;
    small(node)
}

fn small(node: &Node) -> Result<()> {
    let kubelet = Kubelet::new(node);
    let overhead = overhead(node)?;
    for limit in [16, 64] {
        let (pod, memory) = pod_within(&kubelet, &format!("small-{limit}"), limit + overhead)?;
        let container = service_of(&pod, limit)?;
        tell(
            &format!("a pod that may use {limit} + {overhead} MiB"),
            &memory,
        )?;
        // What it was given it can use.
        use_memory(&container, limit - 6)?;
        for _ in 0..3 {
            container.shell("for i in 1 2 3 4 5 6 7 8; do ls -R /bin /etc | wc -l; done")?;
        }
        tell("after some work", &memory)?;
        let status = container.status()?;
        ensure!(status.state == ContainerState::Running as i32, "{status}");
        pod.remove()?;
    }
    Ok(())
}

fn first_pods(node: &Node) -> Result<()> {
    let settings = Settings {
        memory_mib: ROOMY_MIB,
        ..templating::without_template(node)?
    };
    node.configure(&settings)?;
    node.imprint(&["factory", "init"]).succeed()?;
    let kubelet = Kubelet::new(node);
    let overhead = overhead(node)?;
    for number in 1..=3 {
        let (pod, memory) = pod_within(&kubelet, &format!("first-{number}"), 256 + overhead)?;
        templating::restored(&settings, &pod)?;
        let container = service_of(&pod, 256)?;
        tell(&format!("pod {number} after init"), &memory)?;
        use_memory(&container, 220)?;
        tell("with 220 of its 256 MiB used", &memory)?;
        let status = container.status()?;
        ensure!(status.state == ContainerState::Running as i32, "{status}");
        pod.remove()?;
    }
    node.imprint(&["factory", "destroy"]).succeed()?;
    Ok(())
}

/// A pod grows beyond what the host lets it use, though its containers have no limit.
fn taken(node: &Node) -> Result<()> {
    let kubelet = Kubelet::new(node);
    if !kubelet.is_imprint() {
        return Ok(());
    }
    let (pod, memory) = pod_within(&kubelet, "taken", 1024)?;
    let (one, two) = (service(&pod)?, pod.start("two", SERVICE)?);
    two.logged("up")?;
    let limit = (memory.used()? >> 20) + 8;
    memory.limit(limit << 20)?;
    let mark = node.mark();
    // Larger than what is left, and smaller than the VM.
    let used = use_memory(&two, 160);
    ensure!(used.is_err(), "The pod used more than it may");
    for container in [&one, &two] {
        let ended = container.ended()?;
        ensure!(
            ended.exit_code == 137 && ended.reason == "OOMKilled",
            "{ended}"
        );
    }
    let words = format!("OOM killer took its VM: the pod may use {limit} MiB, and has used ");
    node.log().wait_for(
        mark,
        Deadline::after(TIMEOUT),
        "the reason in the log",
        |line| line.contains(&words).then_some(()),
    )?;
    pod.remove()
}

/// A pod whose limit no VM fits into.
fn unstarted(node: &Node) -> Result<()> {
    let kubelet = Kubelet::new(node);
    if !kubelet.is_imprint() {
        return Ok(());
    }
    let refused = pod_within(&kubelet, "unstarted", 48).map(drop);
    let words = refused.err().map(|error| error.to_string());
    let reason = "OOM killer ended a process of the pod: the pod may use 48 MiB";
    let told = words.as_ref().is_some_and(|words| words.contains(reason));
    ensure!(told, "{words:?}");
    Ok(())
}

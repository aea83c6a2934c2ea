//! Whose processes a container sees: `kubectl debug --target`, and `shareProcessNamespace`.

use e2e_tests::harness::Case;
use playground::{
    Result,
    cri::{Container, Kubelet, Pod},
    ensure,
    node::Node,
};

use crate::pods::same;

/// The CRI's numbers.
const POD: i32 = 0;
const TARGET: i32 = 3;

/// Process 1 of the namespace, and all that are in it.
const LOOK: &str = "tr '\\0' ' ' </proc/1/cmdline; echo; ps";

pub fn cases() -> Vec<Case> {
    vec![
        Case::new("pid_namespaces::a_debug_container_sees_its_target", target),
        Case::new(
            "pid_namespaces::a_pod_shares_beyond_its_first_container",
            shared,
        ),
    ]
}

fn start<'a>(
    pod: &Pod<'a>,
    name: &str,
    script: &str,
    mode: i32,
    target: &str,
) -> Result<Container<'a>> {
    pod.start_with(name, script, |config| {
        let linux = config.linux.mut_or_insert_default();
        let context = linux.security_context.mut_or_insert_default();
        let options = context.namespace_options.mut_or_insert_default();
        options.pid = mode;
        target.clone_into(&mut options.target_id);
    })
}

fn target(node: &Node) -> Result<()> {
    let kubelet = Kubelet::new(node);
    let pod = kubelet.run("target")?;
    let one = pod.start("one", "exec sleep 1111")?;
    let two = pod.start("two", "exec sleep 2222")?;
    for (container, own, other) in [(&one, "1111", "2222"), (&two, "2222", "1111")] {
        let debug = start(
            &pod,
            &format!("debug-{own}"),
            "exec sleep 3333",
            TARGET,
            container.id(),
        )?;
        let seen = debug.shell(LOOK)?;
        ensure!(seen.starts_with(&format!("sleep {own}")), "{seen}");
        ensure!(
            seen.contains("sleep 3333") && !seen.contains(other),
            "{seen}"
        );
        let seen = container.shell("ps")?;
        ensure!(seen.contains("sleep 3333"), "{seen}");
        // The namespace ends with its first process, and what was in it too.
        container.stop(0)?;
        let ended = debug.ended()?;
        ensure!(ended.exit_code == 137, "{ended}");
    }
    pod.remove()
}

fn shared(node: &Node) -> Result<()> {
    beyond_the_first(&Kubelet::new(node))
}

/// The namespace that a pod's containers share is there when the first of them has ended.
pub fn beyond_the_first(kubelet: &Kubelet) -> Result<()> {
    let pod = kubelet.run_with("shared", |config| {
        let linux = config.linux.mut_or_insert_default();
        let context = linux.security_context.mut_or_insert_default();
        context.namespace_options.mut_or_insert_default().pid = POD;
    })?;
    let first = start(&pod, "first", "echo done", POD, "")?;
    ensure!(first.ended()?.exit_code == 0, "{}", first.status()?);
    first.remove()?;
    let one = start(&pod, "one", "exec sleep 1111", POD, "")?;
    let two = start(&pod, "two", "exec sleep 2222", POD, "")?;
    let init = init(kubelet, &two)?;
    if kubelet.asks_for_sandboxes() {
        // The agent's own process 1 is held to the rules for devices, as a pause container is.
        let group = two.shell("cat /proc/1/cgroup")?;
        ensure!(group.contains("imprint-devices"), "{group}");
    }
    let seen = two.shell("ps")?;
    let both = seen.contains("sleep 1111") && seen.contains("sleep 2222");
    ensure!(both, "{seen}");
    one.stop(0)?;
    same("Process 1", &self::init(kubelet, &two)?, &init)?;
    let seen = two.shell("ps")?;
    ensure!(!seen.contains("sleep 1111"), "{seen}");
    pod.remove()
}

/// Process 1: none of the pod's own containers, but the pause container's or what stands for that.
fn init(kubelet: &Kubelet, container: &Container<'_>) -> Result<String> {
    let init = container.shell("tr '\\0' ' ' </proc/1/cmdline")?;
    ensure!(!init.contains("1111") && !init.contains("2222"), "{init}");
    let expected = init.starts_with("/pause") || !kubelet.asks_for_sandboxes();
    ensure!(expected, "{init}");
    Ok(init.trim_end().to_owned())
}

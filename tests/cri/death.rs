//! Processes that are killed under pods: the VMM, the shim, containerd.

use std::time::Duration;

use e2e_tests::harness::Case;
use playground::{
    Error, Result,
    cri::{ContainerState, Kubelet},
    ensure,
    node::Node,
    proc::Process,
    wait::Deadline,
};

use crate::pods::{same, service};

pub fn cases() -> Vec<Case> {
    vec![
        Case::new("death::of_the_vmm", vmm),
        Case::new("death::of_the_shim", shim),
        Case::new("death::of_containerd", containerd),
    ]
}

fn only(processes: Vec<Process>, what: &str) -> Result<Process> {
    let count = processes.len();
    let one = processes.into_iter().next().filter(|_| count == 1);
    one.ok_or_else(|| Error::Unexpected(format!("{count} {what} run instead of one")))
}

fn vmm(node: &Node) -> Result<()> {
    killed_vmm(node, &Kubelet::new(node))
}

/// The VMM under a pod of this kubelet is killed.
pub fn killed_vmm(node: &Node, kubelet: &Kubelet) -> Result<()> {
    if !kubelet.is_imprint() {
        return Ok(());
    }
    let pod = kubelet.run("vmm")?;
    let container = service(&pod)?;
    only(node.vmms(), "VMMs")?.kill()?;
    let ended = container.ended()?;
    ensure!(ended.exit_code != 0 && ended.finished_at > 0, "{ended}");
    for _ in 0..2 {
        pod.stop()?;
    }
    let status = pod.status()?;
    ensure!(status.state == 1, "{status}");
    pod.remove()
}

fn shim(node: &Node) -> Result<()> {
    killed_shim(node, &Kubelet::new(node))
}

/// The shim of a pod of this kubelet is killed.
pub fn killed_shim(node: &Node, kubelet: &Kubelet) -> Result<()> {
    if !kubelet.is_imprint() {
        return Ok(());
    }
    let pod = kubelet.run("shim")?;
    let container = service(&pod)?;
    let vmm = only(node.vmms(), "VMMs")?;
    only(node.shims(), "shims")?.kill()?;
    vmm.wait_gone(Deadline::after(Duration::from_secs(10)))?;
    let ended = container.ended()?;
    ensure!(
        ended.state == ContainerState::Exited as i32 && ended.exit_code != 0,
        "{ended}"
    );
    pod.remove()
}

fn containerd(node: &Node) -> Result<()> {
    replaced_containerd(node, &Kubelet::new(node))
}

/// containerd is killed and started again under a pod of this kubelet.
pub fn replaced_containerd(node: &Node, kubelet: &Kubelet) -> Result<()> {
    let pod = kubelet.run("containerd")?;
    let container = service(&pod)?;
    let script = "echo up; sleep 1; exit 11";
    let passing = pod.start("passing", script)?;
    passing.logged("up")?;
    node.containerd().replace()?;
    kubelet.cri().ready()?;
    let status = pod.status()?;
    ensure!(status.state == 0, "The pod is lost: {status}");
    let status = container.status()?;
    ensure!(status.state == ContainerState::Running as i32, "{status}");
    same(
        "An exec afterwards",
        &container.shell("echo there")?,
        "there",
    )?;
    let ended = passing.ended()?;
    ensure!(ended.exit_code == 11, "{ended}");
    let later = pod.start("later", "echo later; exit 12")?;
    let ended = later.ended()?;
    ensure!(ended.exit_code == 12, "{ended}");
    later.logged("later")?;
    container.stop(10)?;
    let status = container.status()?;
    ensure!(status.exit_code == 0, "{status}");
    pod.remove()
}

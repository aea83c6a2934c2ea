//! Pods that containerd makes by the sandbox API: no pause container, and the runtime itself tells
//! of them. `IMPRINT_CRI_HANDLER=imprint-sandbox` runs all other scenarios with such pods.

use e2e_tests::harness::Case;
use playground::{
    Error, Result,
    containerd::SANDBOX_HANDLER,
    cri::Kubelet,
    ctr::Ctr,
    ensure,
    node::Node,
    starts::{self, StartReport},
};

use crate::{
    death, pid_namespaces,
    pods::{same, service},
};

pub fn cases() -> Vec<Case> {
    vec![
        Case::new(
            "sandbox_api::a_pod_is_its_sandbox_and_tells_of_its_start",
            start,
        ),
        Case::new("sandbox_api::a_pod_outlives_its_containers", lifetime),
        Case::new(
            "sandbox_api::a_pod_shares_beyond_its_first_container",
            |node| pid_namespaces::beyond_the_first(&kubelet(node)?),
        ),
        Case::new("sandbox_api::death_of_the_vmm", |node| {
            death::killed_vmm(node, &kubelet(node)?)
        }),
        Case::new("sandbox_api::death_of_the_shim", |node| {
            death::killed_shim(node, &kubelet(node)?)
        }),
        Case::new("sandbox_api::death_of_containerd", |node| {
            death::replaced_containerd(node, &kubelet(node)?)
        }),
    ]
}

fn kubelet(node: &Node) -> Result<Kubelet> {
    let release = &node.artefacts().containerd;
    if !release.at_least(2, 0) {
        return Err(Error::Unavailable {
            what: "the sandbox API through the CRI".to_owned(),
            reason: format!("this is {release}"),
        });
    }
    Ok(Kubelet::with_handler(node, SANDBOX_HANDLER))
}

/// What `crictl inspectp` shows is what the shim logged, and what it left on disk.
fn start(node: &Node) -> Result<()> {
    let kubelet = kubelet(node)?;
    let mark = node.mark();
    let pod = kubelet.run("told")?;
    let info = pod.info()?;
    let told: StartReport = serde_json::from_value(info["start"].clone())
        .map_err(|error| Error::Unexpected(format!("{error}: {info}")))?;
    let logged = node.start_since(mark)?;
    ensure!(told == logged, "{told:?} instead of {logged:?}");
    let named = |name: &str| told.phases.iter().any(|phase| phase.name == name);
    ensure!(named("vm") && told.total_ms > 0.0, "{told:?}");
    let kept = starts::read(&node.settings().run_root, pod.id())?;
    ensure!(kept == told, "{kept:?} instead of {told:?}");
    ensure!(
        info["pid"].as_i64() == node.vmms().first().map(|vmm| i64::from(vmm.pid)),
        "{info}"
    );
    let containers = Ctr::new(node.containerd().layout().clone(), "k8s.io").containers()?;
    ensure!(containers.is_empty(), "Instead of none: {containers:?}");
    println!("    {info}");
    pod.remove()
}

/// Nothing ends with the last container but the container.
fn lifetime(node: &Node) -> Result<()> {
    let kubelet = kubelet(node)?;
    let pod = kubelet.run("outlives")?;
    let first = pod.start("first", "echo done; exit 3")?;
    let ended = first.ended()?;
    ensure!(ended.exit_code == 3, "{ended}");
    first.remove()?;
    let status = pod.status()?;
    ensure!(status.state == 0, "{status}");
    let second = service(&pod)?;
    same(
        "The hostname",
        &second.shell("cat /etc/hostname")?,
        "outlives",
    )?;
    for _ in 0..2 {
        pod.stop()?;
    }
    let status = pod.status()?;
    ensure!(status.state == 1, "{status}");
    let info = pod.info()?;
    ensure!(info["start"]["start_path"].is_string(), "{info}");
    pod.remove()
}

//! A restored pod that needs more than its template had: CPUs, memory, a second network.

use std::{fs, path::Path, time::Duration};

use e2e_tests::harness::Case;
use playground::{
    Error, Result,
    cri::{Cri, Kubelet},
    ensure,
    node::Node,
    wait::{Deadline, ready},
};

use super::{restored, with_template};
use crate::{
    pods::service,
    resources::{MIB, limited},
};

/// A second network, a pair of interfaces without a bridge.
const SECOND: &str = "second";

pub fn cases() -> Vec<Case> {
    [
        Case::new("templating::a_restored_pod_grows_or_is_refused", grows),
        Case::new("templating::a_restored_pod_has_two_networks", two_networks),
    ]
    .map(Case::restored)
    .to_vec()
}

fn grows(node: &Node) -> Result<()> {
    let settings = with_template(node)?;
    let kubelet = Kubelet::new(node);
    let pod = kubelet.run("growing")?;
    restored(&settings, &pod)?;
    let container = service(&pod)?;
    let seen = || {
        container
            .shell("grep -c ^processor /proc/cpuinfo; awk '/^MemTotal/ { print $2 }' /proc/meminfo")
    };
    let before = seen()?;
    ensure!(before.starts_with("1\n"), "{before:?}");
    let cri = kubelet.cri();
    cri.update(container.id(), limited(400 * MIB, 200_000))?;
    let after = seen()?;
    let kib = after.lines().nth(1).and_then(|kib| kib.parse::<i64>().ok());
    ensure!(
        after.starts_with("2\n") && kib.is_some_and(|kib| kib / 1024 >= 400),
        "{before:?}, then {after:?}"
    );
    let refused = cri.update(container.id(), limited(1 << 50, 200_000));
    let words = refused.err().map(|error| error.to_string());
    ensure!(
        words
            .as_ref()
            .is_some_and(|words| words.contains("cannot grow")),
        "{words:?}"
    );
    pod.remove()
}

/// Waits until the CRI plugin has read the directory of networks again and has this many.
fn networks(cri: &Cri, count: usize) -> Result<()> {
    let deadline = Deadline::after(Duration::from_secs(20));
    loop {
        let info = cri.info()?;
        let config = info.get("cniconfig").map_or("{}", String::as_str);
        let config: serde_json::Value = serde_json::from_str(config).unwrap_or_default();
        // The loopback is one of them.
        let known = config["Networks"].as_array().map_or(0, Vec::len);
        if known == count + 1 {
            return Ok(());
        }
        ensure!(
            !deadline.left().is_zero(),
            "The plugin has {known} networks, not {count} and the loopback: {config}"
        );
        // It announces nothing: it is asked.
        match ready(
            &[],
            Deadline::after(Duration::from_millis(40)),
            "the next look",
        ) {
            Ok(_) | Err(Error::Timeout { .. }) => {}
            Err(error) => return Err(error),
        }
    }
}

fn second_network(directory: &Path) -> String {
    format!(
        r#"{{"cniVersion": "0.4.0", "name": "{SECOND}", "plugins": [{{"type": "ptp",
  "ipam": {{"type": "host-local", "dataDir": "{}/cni/ipam",
           "ranges": [[{{"subnet": "10.214.0.0/16"}}]]}}}}]}}"#,
        directory.display()
    )
}

fn two_networks(node: &Node) -> Result<()> {
    let settings = with_template(node)?;
    let kubelet = Kubelet::new(node);
    let path = node.directory().join("cni/20-second.conflist");
    fs::write(&path, second_network(node.directory())).map_err(Error::io("Writing", &path))?;
    let outcome = networks(kubelet.cri(), 2).and_then(|()| {
        let pod = kubelet.run("two-networks")?;
        restored(&settings, &pod)?;
        let addresses = service(&pod)?.shell("ip -4 -o addr; cat /sys/class/net/eth*/address")?;
        for part in ["eth0    inet 10.213.", "eth1    inet 10.214."] {
            ensure!(addresses.contains(part), "{part:?} is not in {addresses}");
        }
        let macs: std::collections::BTreeSet<&str> = addresses
            .lines()
            .filter(|line| line.len() == 17 && line.matches(':').count() == 5)
            .collect();
        ensure!(macs.len() == 2, "{addresses}");
        pod.remove()
    });
    fs::remove_file(&path).map_err(Error::io("Removing", &path))?;
    outcome.and_then(|()| networks(kubelet.cri(), 1))
}

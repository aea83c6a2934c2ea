//! The devices of a pod: in place from the VM's start, with nothing plugged in while it runs.

use e2e_tests::harness::Case;
use playground::{
    Result,
    cri::{Container, Kubelet, OTHER, Pod, api},
    ensure,
    node::Node,
};
use protobuf::MessageField;

use crate::pods::{SERVICE, same};

/// Disk slots of a VM by default.
const SLOTS: usize = 4;

pub fn cases() -> Vec<Case> {
    vec![
        Case::new("devices::nothing_is_plugged_into_an_ordinary_pod", ordinary),
        Case::new("devices::a_slot_shows_what_is_in_it_now", exchanged),
    ]
}

/// A container that may read the kernel's log.
fn reader<'a>(pod: &Pod<'a>, name: &str) -> Result<Container<'a>> {
    let container = pod.start_with(name, SERVICE, |config| {
        let linux = config.linux.mut_or_insert_default();
        let context = linux.security_context.mut_or_insert_default();
        let mut capabilities = api::Capability::new();
        capabilities.add_capabilities = vec!["SYSLOG".to_owned()];
        context.capabilities = MessageField::some(capabilities);
    })?;
    container.logged("up")?;
    Ok(container)
}

/// What the guest's kernel says of PCI devices that it found after it had started the agent.
fn plugged(container: &Container<'_>) -> Result<Vec<String>> {
    let log = container.shell("dmesg")?;
    let device = |line: &&str| line.contains("pci 0000:") && line.contains(" type 00 class 0x");
    let (before, after) = log.split_once(" as init process").unwrap_or_default();
    ensure!(
        before.lines().any(|line| device(&line)),
        "The kernel's log does not tell of PCI devices and of its first process:\n{log}"
    );
    Ok(after.lines().filter(device).map(str::to_owned).collect())
}

fn ordinary(node: &Node) -> Result<()> {
    let kubelet = Kubelet::new(node);
    let pod = kubelet.run("ordinary")?;
    let one = reader(&pod, "one")?;
    let two = reader(&pod, "two")?;
    let found = plugged(&two)?;
    ensure!(found.is_empty(), "Devices were plugged in: {found:#?}");
    // One more than there are slots, with the pause container's: it is plugged in, and works.
    let others: Vec<_> = (3..=SLOTS)
        .map(|number| reader(&pod, &format!("more-{number}")))
        .collect::<Result<_>>()?;
    let found = plugged(&one)?;
    ensure!(found.len() == 1, "{found:#?}");
    for container in &others {
        same("Container", &container.shell("echo works")?, "works")?;
    }
    pod.remove()
}

fn exchanged(node: &Node) -> Result<()> {
    let kubelet = Kubelet::new(node);
    let pod = kubelet.run("exchanged")?;
    let service = reader(&pod, "service")?;
    let seen = "md5sum </bin/busybox; cat /who 2>/dev/null || echo nobody";
    let busybox = service.shell(seen)?;
    for round in 0..SLOTS {
        let (image, who) = if round % 2 == 0 {
            (OTHER, "other")
        } else {
            (playground::image::BUSYBOX, "nobody")
        };
        let container = pod.start_with(&format!("round-{round}"), SERVICE, |config| {
            image.clone_into(&mut config.image.mut_or_insert_default().image);
        })?;
        container.logged("up")?;
        let found = container.shell(seen)?;
        ensure!(found.lines().next_back() == Some(who), "{found}");
        ensure!(
            found.lines().next() == busybox.lines().next(),
            "{found}{busybox}"
        );
        container.stop(0)?;
        container.remove()?;
    }
    let found = plugged(&service)?;
    ensure!(found.is_empty(), "Devices were plugged in: {found:#?}");
    pod.remove()
}

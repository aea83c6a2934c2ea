//! More containers in a pod than it has disk slots and root ports.

use e2e_tests::harness::Case;
use playground::{Result, cri::Kubelet, node::Node};

use crate::pods::{SERVICE, same};

/// With the pause container's, more images than 4 slots and 6 root ports hold.
const CONTAINERS: usize = 14;

pub fn cases() -> Vec<Case> {
    vec![Case::new(
        "many_images::fourteen_containers_with_an_image_each",
        fourteen,
    )]
}

fn fourteen(node: &Node) -> Result<()> {
    let kubelet = Kubelet::new(node);
    let pod = kubelet.run("many")?;
    let mut all = Vec::new();
    for number in 0..CONTAINERS {
        all.push(pod.start(&format!("c{number}"), SERVICE)?);
    }
    for (number, container) in all.iter().enumerate() {
        let script = format!("echo {number} > /mine && cat /mine && ls -d /bin");
        let seen = container.shell(&script)?;
        same("A root", &seen, &format!("{number}\n/bin"))?;
    }
    // A place behind a bridge is free again when its container is gone.
    let last = all.pop();
    if let Some(last) = last {
        last.stop(1)?;
        last.remove()?;
    }
    let later = pod.start("later", SERVICE)?;
    same(
        "The later root",
        &later.shell("ls /mine || echo new")?,
        "new",
    )?;
    pod.remove()
}

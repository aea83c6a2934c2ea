//! What is undone in a real network namespace after a shim was killed. Needs root and `ip`.

#![allow(missing_docs, clippy::expect_used, clippy::panic, clippy::unwrap_used)]

#[path = "../../network/tests/netns/mod.rs"]
mod netns;

use netns::{Pod, pod};
use network::{Namespace, attach};
use pod::state::{NetworkRecord, SandboxDir, cleanup};

fn record(pod: &Pod) -> NetworkRecord {
    NetworkRecord::from(&Namespace::open(&pod.path()).unwrap())
}

#[tokio::test]
async fn cleanup_takes_back_what_a_killed_shim_left() {
    let Some(pod) = pod("killed") else { return };
    pod.simple();
    let root = tempfile::tempdir().unwrap();
    let mut dir = SandboxDir::create(root.path(), "a", "/bundle".as_ref()).unwrap();
    dir.record(|state| state.network = Some(record(&pod)))
        .unwrap();
    let namespace = Namespace::open(&pod.path()).unwrap();
    drop(attach(&namespace, None).await.unwrap());
    pod.until_no_tap();
    let report = cleanup(dir.path(), "/bundle".as_ref());
    assert!(report.is_clean() && report.removed, "{report:?}");
    assert!(pod.is_clean(), "{}", pod.tc("qdisc"));
}

#[tokio::test]
async fn cleanup_does_not_mind_a_namespace_that_is_gone() {
    let Some(pod) = pod("gone") else { return };
    let root = tempfile::tempdir().unwrap();
    let mut dir = SandboxDir::create(root.path(), "a", "/bundle".as_ref()).unwrap();
    dir.record(|state| state.network = Some(record(&pod)))
        .unwrap();
    drop(pod);
    let report = cleanup(dir.path(), "/bundle".as_ref());
    assert!(report.is_clean() && report.removed, "{report:?}");
}

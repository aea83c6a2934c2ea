//! Process namespaces that containers share.

use std::{
    fs,
    path::{Path, PathBuf},
    time::Instant,
};

use agent_client::{
    PID_NAMESPACE_OF,
    agent::{CreateContainerRequest, DestroySandboxRequest, StartContainerRequest},
};

use super::{Plain, process, soon};

const KIND: &str = "io.katacontainers.pkg.oci.container_type";
/// Its process namespace, what process 1 of that is, and what can be seen through it.
const LOOK: &str = "busybox readlink /proc/self/ns/pid; busybox tr '\\0' ' ' < /proc/1/cmdline; \
    echo; busybox ls -A /proc/1/root/ 2>/dev/null; echo end";

impl Plain {
    async fn create_sharing(
        &self,
        id: &str,
        shares: bool,
        note: (&str, &str),
    ) -> ttrpc::Result<()> {
        let words = match shares {
            true => ["sh", "-c", LOOK].as_slice(),
            false => &["sleep", "1000"],
        };
        let mut request = CreateContainerRequest::new();
        request.container_id = id.into();
        let mut spec = self.spec(id, process(words));
        spec.Annotations.insert(note.0.into(), note.1.into());
        request.OCI = Some(spec).into();
        request.sandbox_pidns = shares;
        self.client.create_container(soon(), &request).await?;
        let mut request = StartContainerRequest::new();
        request.container_id = id.into();
        self.client
            .start_container(soon(), &request)
            .await
            .map(drop)
    }

    /// What a container sees that shares a namespace and then ends.
    async fn look(&self, id: &str, note: (&str, &str)) -> Vec<String> {
        self.create_sharing(id, true, note).await.unwrap();
        let seen = String::from_utf8(self.output(id, "").await).unwrap();
        assert_eq!(self.wait(id, "").await, 0, "{seen}");
        self.remove(id).await;
        seen.lines().map(str::to_owned).collect()
    }

    async fn refused(&self, id: &str, note: (&str, &str)) -> String {
        let refused = self.create_sharing(id, true, note).await;
        refused.unwrap_err().to_string()
    }
}

/// The processes that are in a namespace.
fn members(namespace: &str) -> Vec<PathBuf> {
    let processes = fs::read_dir("/proc").unwrap().flatten();
    let within = |process: &PathBuf| {
        let link = fs::read_link(process.join("ns/pid"));
        link.is_ok_and(|link| link.to_str() == Some(namespace))
    };
    processes.map(|one| one.path()).filter(within).collect()
}

const MEMBER: (&str, &str) = (KIND, "pod_container");

/// It still has the agent's files open, among them the log of errors that all requests share.
#[tokio::test(flavor = "multi_thread")]
async fn a_process_that_has_not_started_cannot_be_looked_into() {
    let Some(plain) = Plain::start().await else {
        return;
    };
    let mut request = CreateContainerRequest::new();
    request.container_id = "waits".into();
    request.OCI = Some(plain.spec("waits", process(&["true"]))).into();
    request.sandbox_pidns = true;
    let waits = plain.client.create_container(soon(), &request);
    waits.await.unwrap();
    let look = "for found in $(busybox grep -l -e '--[z]ygote' /proc/[0-9]*/cmdline); do \
        echo found; for open in ${found%cmdline}fd/*; do busybox readlink $open; done; done";
    request.container_id = "looks".into();
    request.OCI = Some(plain.spec("looks", process(&["sh", "-c", look]))).into();
    plain
        .client
        .create_container(soon(), &request)
        .await
        .unwrap();
    plain.start_created("looks").await;
    let seen = plain.output("looks", "").await;
    assert_eq!(
        String::from_utf8(seen).unwrap(),
        "found\n",
        "no link is read"
    );
    plain.wait("looks", "").await;
    for id in ["looks", "waits"] {
        plain.remove(id).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_pods_namespace_outlives_its_first_container() {
    let Some(plain) = Plain::start().await else {
        return;
    };
    let first = plain.look("first", MEMBER).await;
    let second = plain.look("second", MEMBER).await;
    assert_eq!(first, second);
    // Nothing of the guest is seen through it.
    assert!(first[1].starts_with("/pause"), "{first:?}");
    assert_eq!(first[2..], ["end"], "{first:?}");
    let kept = members(&first[0]);
    assert_eq!(kept.len(), 1, "the namespace is kept");
    let descriptors = fs::read_dir(kept[0].join("fd")).unwrap().flatten();
    let mut open: Vec<_> = descriptors
        .map(|one| (one.file_name(), fs::read_link(one.path()).unwrap()))
        .collect();
    open.sort();
    assert_eq!(open.len(), 3, "{open:?}");
    assert_eq!(open[2].1, Path::new("/dev/null"));
    // Whoever makes it open a device gets no further than a container.
    if Path::new("/sys/fs/cgroup/cgroup.controllers").exists() {
        let group = fs::read_to_string(kept[0].join("cgroup")).unwrap();
        assert!(group.contains("0::/imprint-devices\n"), "{group}");
    }
    let request = DestroySandboxRequest::new();
    plain
        .client
        .destroy_sandbox(soon(), &request)
        .await
        .unwrap();
    let begun = Instant::now();
    while !members(&first[0]).is_empty() {
        assert!(begun.elapsed().as_secs() < 10, "and ends with the sandbox");
        tokio::task::yield_now().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_namespace_of_a_sandbox_container_is_the_pods() {
    let Some(plain) = Plain::start().await else {
        return;
    };
    let sandbox = (KIND, "pod_sandbox");
    plain.create_sharing("pause", false, sandbox).await.unwrap();
    let first = plain.look("first-of-pause", MEMBER).await;
    assert_eq!(first[1], "sleep 1000 ");
    assert_eq!(plain.look("second-of-pause", MEMBER).await[..2], first[..2]);
    plain.kill("pause", "", libc::SIGKILL).await;
    plain.wait("pause", "").await;
    let refused = plain.refused("third-of-pause", MEMBER).await;
    assert!(
        refused.contains("namespace of container pause has ended"),
        "{refused}"
    );
    plain.remove("pause").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_container_joins_the_namespace_of_another() {
    let Some(plain) = Plain::start().await else {
        return;
    };
    plain
        .create_sharing("other-pause", false, (KIND, "pod_sandbox"))
        .await
        .unwrap();
    plain.begin("target", process(&["sleep", "2000"])).await;
    let target = (PID_NAMESPACE_OF, "target");
    assert_eq!(plain.look("debug", target).await[1], "sleep 2000 ");
    plain.kill("target", "", libc::SIGKILL).await;
    plain.wait("target", "").await;
    let refused = plain.refused("late", target).await;
    assert!(
        refused.contains("of container target has ended"),
        "{refused}"
    );
    let refused = plain.refused("lost", (PID_NAMESPACE_OF, "nobody")).await;
    assert!(
        refused.contains("no container") && refused.contains("nobody"),
        "{refused}"
    );
    for id in ["target", "other-pause"] {
        plain.remove(id).await;
    }
}

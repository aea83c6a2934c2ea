//! Calls that are cut off at their deadline: what they make is not lost.

use std::{fs, time::Duration};

use agent_client::agent::{
    CreateContainerRequest, ExecProcessRequest, RemoveContainerRequest, SignalProcessRequest,
};
use ttrpc::{Code, context};

use super::{Plain, process, soon};

fn within(milliseconds: u64) -> context::Context {
    context::with_duration(Duration::from_millis(milliseconds))
}

fn code(result: &ttrpc::Result<impl Sized>) -> Option<Code> {
    match result {
        Err(ttrpc::Error::RpcStatus(status)) => Some(status.code()),
        _ => None,
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_process_that_was_cut_off_can_be_killed() {
    let Some(plain) = Plain::start().await else {
        return;
    };
    plain.begin("cut-off", process(&["sleep", "1000"])).await;
    for milliseconds in [1, 2, 3, 5, 8, 13, 20, 30] {
        let name = marker(milliseconds);
        let mut exec = ExecProcessRequest::new();
        exec.container_id = "cut-off".into();
        exec.exec_id.clone_from(&name);
        exec.process = Some(process(&["sleep", &name])).into();
        let _cut_off = plain.client.exec_process(within(milliseconds), &exec).await;
        let mut kill = SignalProcessRequest::new();
        kill.container_id = "cut-off".into();
        kill.exec_id.clone_from(&name);
        kill.signal = libc::SIGKILL.unsigned_abs();
        let killed = plain.client.signal_process(soon(), &kill).await;
        match code(&killed) {
            None => assert_eq!(plain.wait("cut-off", &name).await, 137, "{killed:?}"),
            // The agent may never have heard of it; whether it did is seen below.
            other => assert_eq!(other, Some(Code::NOT_FOUND), "{killed:?}"),
        }
    }
    // Processes are made one after the other: whatever was asked for is made before this.
    plain
        .execute("cut-off", "last", process(&["true"]))
        .await
        .unwrap();
    assert_eq!(plain.wait("cut-off", "last").await, 0);
    let left: Vec<String> = command_lines()
        .filter(|line| (0..=30).any(|milliseconds| line.contains(&marker(milliseconds))))
        .collect();
    assert!(left.is_empty(), "{left:?}");
    plain.remove("cut-off").await;
}

/// A number of seconds that no other process sleeps.
fn marker(milliseconds: u64) -> String {
    format!("7777{:08}{milliseconds:02}", std::process::id())
}

fn command_lines() -> impl Iterator<Item = String> {
    let processes = fs::read_dir("/proc").unwrap().flatten();
    processes.filter_map(|one| fs::read_to_string(one.path().join("cmdline")).ok())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_container_that_was_cut_off_can_be_removed() {
    let Some(plain) = Plain::start().await else {
        return;
    };
    for milliseconds in [1, 5, 20, 60] {
        let id = format!("cut-{milliseconds}");
        let mut request = CreateContainerRequest::new();
        request.container_id.clone_from(&id);
        request.OCI = Some(plain.spec(&id, process(&["true"]))).into();
        let _cut_off = plain
            .client
            .create_container(within(milliseconds), &request)
            .await;
        let mut remove = RemoveContainerRequest::new();
        remove.container_id.clone_from(&id);
        let removed = plain.client.remove_container(soon(), &remove).await;
        assert!(
            removed.is_ok() || code(&removed) == Some(Code::NOT_FOUND),
            "{removed:?}"
        );
        plain.begin(&id, process(&["true"])).await;
        assert_eq!(plain.wait(&id, "").await, 0);
        plain.remove(&id).await;
    }
}

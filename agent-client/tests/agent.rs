//! The typed calls, against a small agent behind a serial port.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod common;

use std::time::Duration;

use agent_client::{
    Agent, Channel, Code, Deadlines, Error, MAX_DATA, MAX_MESSAGE, MAX_REPLY, MAX_REQUEST, agent,
    serial,
};
use tokio::{net::UnixListener, time::Instant};
use ttrpc::asynchronous::{Server, transport::Listener};

use common::{SOON, serve, wait};

/// A guest with one serial port, behind a unix socket as with a VMM: the port's stream goes
/// on when the host disconnects, and one host is served at a time.
struct Machine {
    socket: std::path::PathBuf,
    _dir: tempfile::TempDir,
    _server: Server,
}

async fn machine() -> Machine {
    let dir = tempfile::tempdir().unwrap();
    let socket = dir.path().join("agent.sock");
    let listener = UnixListener::bind(&socket).unwrap();
    let (port, mut vmm) = tokio::io::duplex(8 << 10);
    tokio::spawn(async move {
        while let Ok((mut host, _)) = listener.accept().await {
            let (mut from_host, mut to_host) = host.split();
            let (mut from_guest, mut to_guest) = tokio::io::split(&mut vmm);
            tokio::select! {
                _ = tokio::io::copy(&mut from_host, &mut to_guest) => {}
                _ = tokio::io::copy(&mut from_guest, &mut to_host) => {}
            }
        }
    });
    Machine {
        socket,
        _dir: dir,
        _server: serve(Listener::new(serial::sessions(port))).await,
    }
}

impl Machine {
    async fn connect(&self) -> Agent {
        let channel = Channel::Serial(self.socket.clone());
        Agent::connect(&channel, SOON).await.unwrap()
    }
}

fn start(id: &str) -> agent::StartContainerRequest {
    let mut request = agent::StartContainerRequest::new();
    request.container_id = id.to_owned();
    request
}

fn read(exec_id: &str, len: u32) -> agent::ReadStreamRequest {
    let mut request = agent::ReadStreamRequest::new();
    request.exec_id = exec_id.to_owned();
    request.len = len;
    request
}

#[tokio::test]
async fn a_feature_is_asked_for_until_there_is_an_answer() {
    let machine = machine().await;
    let agent = machine.connect().await;
    assert!(!agent.finds_present_devices().await, "no answer");
    assert!(agent.finds_present_devices().await);
    assert!(!agent.joins_pid_namespaces().await);
}

#[tokio::test]
async fn calls_reach_the_agent() {
    let machine = machine().await;
    let agent = machine.connect().await;
    agent.check().await.unwrap();
    agent.start_container(start("good")).await.unwrap();
    assert_eq!(agent.wait_process(wait("one")).await.unwrap(), 137);
    let data = agent.read_stdout(read("one", 32 << 10)).await.unwrap();
    assert_eq!(data.len(), 32 << 10);
}

#[tokio::test]
async fn every_code_for_the_end_of_output_gives_empty_data() {
    let machine = machine().await;
    let agent = machine.connect().await;
    for ended in ["gone", "ended"] {
        assert!(agent.read_stdout(read(ended, 10)).await.unwrap().is_empty());
    }
    let denied = agent.read_stdout(read("denied", 10)).await.unwrap_err();
    assert_eq!(denied.code(), Some(Code::PERMISSION_DENIED));
}

#[tokio::test]
async fn errors_name_the_call_and_cut_the_guests_text() {
    let machine = machine().await;
    let agent = machine.connect().await;
    let error = agent.start_container(start("bad")).await.unwrap_err();
    assert_eq!(error.code(), Some(Code::NOT_FOUND));
    let text = error.to_string();
    assert!(
        text.starts_with("Agent failed StartContainer (NOT_FOUND): \\u{1b}[31m"),
        "{text}"
    );
    assert!(text.len() < MAX_MESSAGE + 100);

    let missing = agent.destroy_sandbox(agent::DestroySandboxRequest::new());
    let error = missing.await.unwrap_err();
    assert!(
        matches!(error.code(), Some(Code::NOT_FOUND | Code::UNIMPLEMENTED)),
        "{error}"
    );
}

#[tokio::test]
async fn answers_are_bounded() {
    let machine = machine().await;
    let agent = machine.connect().await;
    let long = agent.read_stdout(read("one", u32::MAX)).await.unwrap();
    assert!(long.len() > MAX_DATA - 100 && long.len() <= MAX_DATA);
    let request = agent::GetMetricsRequest::new();
    assert_eq!(
        agent.get_metrics(request).await.unwrap().metrics.len(),
        MAX_DATA - 100
    );

    let error = agent
        .list_interfaces(agent::ListInterfacesRequest::new())
        .await
        .unwrap_err();
    assert!(
        matches!(
            error,
            Error::ReplyTooLarge { call: "ListInterfaces", bytes, .. } if bytes > MAX_REPLY
        ),
        "{error}"
    );
    let error = agent.read_stdout(read("liar", 10)).await.unwrap_err();
    assert!(
        matches!(error, Error::ReplyTooLarge { max: 10, .. }),
        "{error}"
    );
    let mut write = agent::WriteStreamRequest::new();
    write.exec_id = "liar".into();
    let error = agent.write_stdin(write.clone()).await.unwrap_err();
    assert!(matches!(error, Error::InvalidReply { .. }), "{error}");

    write.data = vec![0; MAX_REQUEST];
    let error = agent.write_stdin(write).await.unwrap_err();
    assert!(matches!(error, Error::RequestTooLarge { .. }), "{error}");
    agent.check().await.unwrap();
}

#[tokio::test]
async fn a_silent_agent_times_out() {
    let machine = machine().await;
    let short = Deadlines {
        other: Duration::from_millis(100),
        ..Deadlines::default()
    };
    let agent = machine.connect().await.with_deadlines(short);
    let started = Instant::now();
    let error = agent.start_container(start("slow")).await.unwrap_err();
    assert_eq!(
        error.to_string(),
        "Timed out after 100ms waiting for the agent's answer to StartContainer"
    );
    assert!(started.elapsed() < SOON);
    agent.check().await.unwrap();
}

#[tokio::test]
async fn a_reconnect_in_the_middle_of_calls_starts_clean() {
    let machine = machine().await;
    for _ in 0..20 {
        let agent = machine.connect().await;
        let waiter = agent.clone();
        let waiting = tokio::spawn(async move { waiter.wait_process(wait("forever")).await });
        let reader = agent.clone();
        let flood =
            tokio::spawn(
                async move { while reader.read_stdout(read("one", 500_000)).await.is_ok() {} },
            );
        agent.check().await.unwrap();
        let gone = agent.clone();
        waiting.abort();
        flood.abort();
        let _ = (waiting.await, flood.await);
        drop((agent, gone));
    }
    machine.connect().await.check().await.unwrap();
}

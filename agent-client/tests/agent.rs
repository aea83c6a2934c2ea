//! The typed client against a small agent in this process.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::{collections::HashMap, sync::Arc, time::Duration};

use agent_client::{
    Agent, Channel, Code, Deadlines, Error, MAX_DATA, MAX_FRAME, MAX_MESSAGE, MAX_REPLY,
    MAX_REQUEST, agent, agent_ttrpc, health, health_ttrpc, serial, types,
};
use async_trait::async_trait;
use protobuf::well_known_types::empty::Empty;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{UnixListener, UnixStream},
    time::{Instant, timeout},
};
use ttrpc::{
    asynchronous::{Server, TtrpcContext, transport::Listener},
    proto::{MESSAGE_TYPE_RESPONSE, MessageHeader},
};

const SOON: Duration = Duration::from_secs(5);

struct Guest;

fn refusal(code: Code, message: &str) -> ttrpc::Error {
    ttrpc::Error::RpcStatus(ttrpc::get_status(code, message))
}

#[async_trait]
impl agent_ttrpc::AgentService for Guest {
    async fn start_container(
        &self,
        _: &TtrpcContext,
        request: agent::StartContainerRequest,
    ) -> ttrpc::Result<Empty> {
        match request.container_id.as_str() {
            "slow" => std::future::pending().await,
            "good" => Ok(Empty::new()),
            _ => Err(refusal(Code::NOT_FOUND, &"\x1b[31m".repeat(100_000))),
        }
    }

    async fn wait_process(
        &self,
        _: &TtrpcContext,
        request: agent::WaitProcessRequest,
    ) -> ttrpc::Result<agent::WaitProcessResponse> {
        if request.exec_id == "forever" {
            std::future::pending::<()>().await;
        }
        let mut reply = agent::WaitProcessResponse::new();
        reply.status = 137;
        Ok(reply)
    }

    async fn read_stdout(
        &self,
        _: &TtrpcContext,
        request: agent::ReadStreamRequest,
    ) -> ttrpc::Result<agent::ReadStreamResponse> {
        let mut reply = agent::ReadStreamResponse::new();
        match request.exec_id.as_str() {
            "gone" => return Err(refusal(Code::NOT_FOUND, "no such process")),
            "denied" => return Err(refusal(Code::PERMISSION_DENIED, "policy")),
            "liar" => reply.data = vec![0; request.len as usize + 1],
            "ended" => {}
            _ => reply.data = vec![b'x'; request.len as usize],
        }
        Ok(reply)
    }

    async fn write_stdin(
        &self,
        _: &TtrpcContext,
        request: agent::WriteStreamRequest,
    ) -> ttrpc::Result<agent::WriteStreamResponse> {
        let mut reply = agent::WriteStreamResponse::new();
        reply.len = request.data.len() as u32 + u32::from(request.exec_id == "liar");
        Ok(reply)
    }

    async fn list_interfaces(
        &self,
        _: &TtrpcContext,
        _: agent::ListInterfacesRequest,
    ) -> ttrpc::Result<agent::Interfaces> {
        let mut reply = agent::Interfaces::new();
        reply.Interfaces = vec![types::Interface::new(); MAX_REPLY / 2 + 1];
        Ok(reply)
    }

    async fn get_metrics(
        &self,
        _: &TtrpcContext,
        _: agent::GetMetricsRequest,
    ) -> ttrpc::Result<agent::Metrics> {
        let mut reply = agent::Metrics::new();
        reply.metrics = "m".repeat(MAX_DATA - 100);
        Ok(reply)
    }
}

#[async_trait]
impl health_ttrpc::Health for Guest {
    async fn check(
        &self,
        _: &TtrpcContext,
        _: health::CheckRequest,
    ) -> ttrpc::Result<health::HealthCheckResponse> {
        let mut reply = health::HealthCheckResponse::new();
        reply.status = health::health_check_response::ServingStatus::SERVING.into();
        Ok(reply)
    }
}

fn services() -> HashMap<String, ttrpc::asynchronous::Service> {
    let mut services = agent_ttrpc::create_agent_service(Arc::new(Guest));
    services.extend(health_ttrpc::create_health(Arc::new(Guest)));
    services
}

async fn serve(listener: Listener) -> Server {
    let mut server = Server::new()
        .register_service(services())
        .add_listener(listener);
    server.start().await.unwrap();
    server
}

/// A guest with one serial port, behind a unix socket as a monitor has it: the port's stream goes
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
    let (port, mut monitor) = tokio::io::duplex(8 << 10);
    tokio::spawn(async move {
        while let Ok((mut host, _)) = listener.accept().await {
            let (mut from_host, mut to_host) = host.split();
            let (mut from_guest, mut to_guest) = tokio::io::split(&mut monitor);
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

fn wait(exec_id: &str) -> agent::WaitProcessRequest {
    let mut request = agent::WaitProcessRequest::new();
    request.exec_id = exec_id.to_owned();
    request
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
async fn the_end_of_output_is_empty_data_however_it_is_said() {
    let machine = machine().await;
    let agent = machine.connect().await;
    for ended in ["gone", "ended"] {
        assert!(agent.read_stdout(read(ended, 10)).await.unwrap().is_empty());
    }
    let denied = agent.read_stdout(read("denied", 10)).await.unwrap_err();
    assert_eq!(denied.code(), Some(Code::PERMISSION_DENIED));
}

#[tokio::test]
async fn errors_name_the_call_and_bound_what_the_guest_says() {
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
        matches!(error, Error::ReplyTooLarge { call: "ListInterfaces", bytes, .. } if bytes > MAX_REPLY),
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
async fn a_silent_agent_is_given_up_after_the_deadline() {
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
        "Waited 100ms for the agent's answer to StartContainer"
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

/// The end of the connection ends every call, also those that have no deadline.
#[tokio::test]
async fn a_lost_connection_fails_all_calls_at_once() {
    let (host, guest) = tokio::io::duplex(1 << 10);
    let agent = Agent::over(host);
    let calls: Vec<_> = (0..50)
        .map(|_| {
            let agent = agent.clone();
            tokio::spawn(async move { agent.wait_process(wait("one")).await })
        })
        .collect();
    tokio::task::yield_now().await;
    drop(guest);
    timeout(SOON, agent.disconnected()).await.unwrap();
    for call in calls {
        let error = timeout(SOON, call).await.unwrap().unwrap().unwrap_err();
        assert!(
            matches!(
                error,
                Error::Disconnected {
                    call: "WaitProcess",
                    ..
                }
            ),
            "{error:?}"
        );
    }
    let late = timeout(SOON, agent.check()).await.unwrap().unwrap_err();
    assert!(
        matches!(late, Error::Disconnected { call: "Check", .. }),
        "{late:?}"
    );
}

#[tokio::test]
async fn dropping_the_last_clone_closes_the_connection() {
    let (host, mut guest) = tokio::io::duplex(1 << 10);
    let agent = Agent::over(host);
    let abandoned = timeout(
        Duration::from_millis(50),
        agent.wait_process(wait("forever")),
    );
    assert!(abandoned.await.is_err());
    drop(agent);
    let mut sent = Vec::new();
    timeout(SOON, guest.read_to_end(&mut sent))
        .await
        .expect("still open")
        .unwrap();
    assert!(!sent.is_empty());
}

/// A request that is given up while its frame is being written leaves the connection whole.
#[tokio::test]
async fn a_dropped_call_does_not_break_the_others() {
    let (host, guest) = tokio::io::duplex(64);
    let agent = Agent::over(host);
    let mut large = agent::WriteStreamRequest::new();
    large.data = vec![7; 100_000];
    assert!(
        timeout(Duration::from_millis(50), agent.write_stdin(large))
            .await
            .is_err()
    );
    let stream = futures::stream::once(async { Ok(guest) });
    let _server = serve(Listener::new(futures::StreamExt::chain(
        stream,
        futures::stream::pending(),
    )))
    .await;
    timeout(SOON, agent.check()).await.unwrap().unwrap();
}

#[tokio::test]
async fn a_guest_that_breaks_the_protocol_is_cut_off() {
    let answer = |length: u32, type_| -> Vec<u8> {
        let header = MessageHeader {
            length,
            stream_id: 1,
            type_,
            flags: 0,
        };
        header.into()
    };
    for (bad, words) in [
        (answer(u32::MAX, MESSAGE_TYPE_RESPONSE), "4294967295 bytes"),
        (
            answer(MAX_FRAME as u32 + 1, MESSAGE_TYPE_RESPONSE),
            "more than the",
        ),
        (answer(10, 3), "type 3"),
    ] {
        let (host, mut guest) = tokio::io::duplex(1 << 10);
        let agent = Agent::over(host);
        guest.write_all(&bad).await.unwrap();
        let error = timeout(SOON, agent.wait_process(wait("one")))
            .await
            .unwrap()
            .unwrap_err();
        assert!(error.to_string().contains(words), "{error}");
        assert!(matches!(error, Error::InvalidReply { .. }), "{error:?}");
    }
    // An answer that is no message.
    let (host, mut guest) = tokio::io::duplex(1 << 10);
    let agent = Agent::over(host);
    let mut junk = answer(3, MESSAGE_TYPE_RESPONSE);
    junk.extend([0xff; 3]);
    let (call, _) = tokio::join!(agent.check(), async {
        guest.read_u8().await.unwrap();
        guest.write_all(&junk).await.unwrap();
    });
    assert!(matches!(call, Err(Error::InvalidReply { .. })), "{call:?}");
}

#[tokio::test]
async fn hybrid_vsock_waits_until_the_agent_listens() {
    let dir = tempfile::tempdir().unwrap();
    let socket = dir.path().join("vsock.sock");
    let listener = UnixListener::bind(&socket).unwrap();
    let (sender, receiver) = tokio::sync::mpsc::channel::<std::io::Result<UnixStream>>(1);
    tokio::spawn(async move {
        let mut lost = Vec::new();
        for attempt in 0.. {
            let Ok((mut host, _)) = listener.accept().await else {
                return;
            };
            let mut request = [0; 13];
            host.read_exact(&mut request).await.unwrap();
            assert_eq!(&request, b"CONNECT 1024\n");
            match attempt {
                0..=4 => drop(host),
                5 => lost.push(host),
                _ => {
                    host.write_all(b"OK 1073741824\n").await.unwrap();
                    sender.send(Ok(host)).await.unwrap();
                }
            }
        }
    });
    let incoming = futures::stream::unfold(receiver, async |mut receiver| {
        Some((receiver.recv().await?, receiver))
    });
    let _server = serve(Listener::new(incoming)).await;
    let channel = Channel::HybridVsock { socket, port: 1024 };
    let agent = Agent::connect(&channel, SOON).await.unwrap();
    agent.check().await.unwrap();
}

#[tokio::test]
async fn a_channel_without_a_guest_is_told() {
    let dir = tempfile::tempdir().unwrap();
    let absent = Channel::Serial(dir.path().join("none"));
    let error = Agent::connect(&absent, SOON).await.unwrap_err();
    assert!(matches!(error, Error::Connect { .. }), "{error:?}");

    let silent = dir.path().join("silent");
    let _listener = UnixListener::bind(&silent).unwrap();
    let brief = Duration::from_millis(100);
    let error = Agent::connect(&Channel::Serial(silent.clone()), brief)
        .await
        .unwrap_err();
    let expected = format!(
        "Waited 100ms for the agent on serial port {}",
        silent.display()
    );
    assert_eq!(error.to_string(), expected);

    let refused = Channel::HybridVsock {
        socket: dir.path().join("none"),
        port: 1,
    };
    let error = Agent::connect(&refused, brief).await.unwrap_err();
    assert!(error.to_string().contains("last attempt"), "{error}");

    let nobody = Channel::Vsock {
        cid: 123_456,
        port: 1024,
    };
    let error = Agent::connect(&nobody, brief).await.unwrap_err();
    assert!(
        matches!(error, Error::Timeout { .. } | Error::Connect { .. }),
        "{error:?}"
    );
    eprintln!("vsock without a guest: {error:?}");
}

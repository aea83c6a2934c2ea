//! How connections come about, end and are shared.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod common;

use std::time::Duration;

use agent_client::{Agent, Channel, Error, MAX_FRAME, agent};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{UnixListener, UnixStream},
    time::timeout,
};
use ttrpc::{
    asynchronous::transport::Listener,
    proto::{MESSAGE_TYPE_RESPONSE, MessageHeader},
};

use common::{SOON, serve, wait};

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

/// A request that is cancelled while its frame is being written does not break the connection.
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
async fn an_error_names_the_channel_without_a_guest() {
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
        "Timed out after 100ms waiting for the agent on serial port {}",
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

//! Sessions over a stream that outlives them, both ends against each other.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::{io, time::Duration};

use agent_client::serial::{self, BUFFER, ESCAPE, HostSession, MARK, Sessions};
use futures::StreamExt;
use proptest::prelude::*;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt, DuplexStream},
    time::timeout,
};

const SOON: Duration = Duration::from_secs(5);

/// A port, and the end of it that host connections come and go on.
fn port(size: usize) -> (DuplexStream, Sessions) {
    let (host, guest) = tokio::io::duplex(size);
    (host, serial::sessions(guest))
}

async fn connect(wire: &mut DuplexStream, nonce: u8) -> HostSession<&mut DuplexStream> {
    timeout(SOON, serial::open(wire, &[nonce; 16]))
        .await
        .expect("no answer to the mark")
        .unwrap()
}

async fn accept(sessions: &mut Sessions) -> DuplexStream {
    timeout(SOON, sessions.next())
        .await
        .expect("no session")
        .unwrap()
        .unwrap()
}

async fn receive(stream: &mut (impl AsyncReadExt + Unpin), len: usize) -> Vec<u8> {
    let mut data = vec![0; len];
    timeout(SOON, stream.read_exact(&mut data))
        .await
        .expect("data did not arrive")
        .unwrap();
    data
}

fn block_on<T>(future: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap()
        .block_on(future)
}

/// Bytes of which many need stuffing.
fn bytes(max: usize) -> impl Strategy<Value = Vec<u8>> {
    let byte = prop_oneof![any::<u8>(), Just(MARK), Just(ESCAPE)];
    prop::collection::vec(byte, 0..max)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(100))]

    #[test]
    fn any_content_passes_in_any_pieces(
        out in bytes(3000), back in bytes(3000), size in 1usize..300, piece in 1usize..300,
    ) {
        block_on(async {
            let (mut wire, mut sessions) = port(size);
            let mut host = connect(&mut wire, 1).await;
            let mut guest = accept(&mut sessions).await;
            let (sent, received) = tokio::join!(
                async {
                    for chunk in out.chunks(piece) {
                        host.write_all(chunk).await.unwrap();
                        host.flush().await.unwrap();
                    }
                    receive(&mut host, back.len()).await
                },
                async {
                    let got = receive(&mut guest, out.len()).await;
                    for chunk in back.chunks(piece) {
                        guest.write_all(chunk).await.unwrap();
                    }
                    got
                },
            );
            assert_eq!((received, sent), (out, back));
        });
    }

    /// Whatever a first host and its guest leave on the wire, cut anywhere, the next pair does not
    /// see it.
    #[test]
    fn a_new_host_starts_clean(
        before in bytes(200), left_in in bytes(500), left_out in bytes(500), cut in 0usize..600,
        data in bytes(300),
    ) {
        block_on(async {
            let (mut wire, mut sessions) = port(4096);
            wire.write_all(&before).await.unwrap();
            let mut host = connect(&mut wire, 1).await;
            // What came before may itself have been a complete mark.
            let mut old = accept(&mut sessions).await;
            while let Ok(Some(Ok(newer))) = timeout(Duration::ZERO, sessions.next()).await {
                old = newer;
            }
            old.write_all(&left_out).await.unwrap();
            host.write_all(&left_in).await.unwrap();
            host.flush().await.unwrap();
            let mut torn = vec![MARK];
            torn.extend(&left_in);
            wire.write_all(&torn[..cut.min(torn.len())]).await.unwrap();

            let mut host = connect(&mut wire, 2).await;
            let mut new = accept(&mut sessions).await;
            while let Ok(Some(Ok(newer))) = timeout(Duration::ZERO, sessions.next()).await {
                new = newer;
            }
            host.write_all(&data).await.unwrap();
            host.flush().await.unwrap();
            assert_eq!(receive(&mut new, data.len()).await, data);
            new.write_all(&data).await.unwrap();
            assert_eq!(receive(&mut host, data.len()).await, data);

            let mut rest = Vec::new();
            timeout(SOON, old.read_to_end(&mut rest)).await.expect("old session goes on").unwrap();
            assert_eq!(old.write_all(b"x").await.unwrap_err().kind(), io::ErrorKind::BrokenPipe);
        });
    }
}

#[tokio::test]
async fn a_server_that_closes_its_session_does_not_stop_the_port() {
    let (mut wire, mut sessions) = port(64);
    let mut host = connect(&mut wire, 1).await;
    drop(accept(&mut sessions).await);
    host.write_all(&[0x55; 100_000]).await.unwrap();
    host.flush().await.unwrap();
    let mut host = connect(&mut wire, 2).await;
    let mut guest = accept(&mut sessions).await;
    host.write_all(b"hello").await.unwrap();
    host.flush().await.unwrap();
    assert_eq!(receive(&mut guest, 5).await, b"hello");
}

/// The answers of a session whose host has disconnected fill the port; the next host must
/// still connect.
#[tokio::test]
async fn a_full_port_is_drained_by_the_next_host() {
    let (mut wire, mut sessions) = port(1000);
    connect(&mut wire, 1).await;
    let mut old = accept(&mut sessions).await;
    let flood = tokio::spawn(async move { old.write_all(&vec![1; 4 << 20]).await });
    let mut host = connect(&mut wire, 2).await;
    let mut guest = accept(&mut sessions).await;
    guest.write_all(b"hello").await.unwrap();
    assert_eq!(receive(&mut host, 5).await, b"hello");
    let ended = timeout(SOON, flood).await.expect("old session goes on");
    assert_eq!(
        ended.unwrap().unwrap_err().kind(),
        io::ErrorKind::BrokenPipe
    );
}

#[tokio::test]
async fn a_guest_that_starts_over_resets_the_host() {
    let (mut wire, mut sessions) = port(1000);
    let mut host = connect(&mut wire, 1).await;
    let _guest = accept(&mut sessions).await;
    let (mut raw, other) = tokio::io::duplex(1000);
    raw.write_all(&[MARK]).await.unwrap();
    raw.write_all(&[9; 16]).await.unwrap();
    raw.write_all(&[MARK]).await.unwrap();
    raw.write_all(&[3; 16]).await.unwrap();
    let mut session = serial::open(other, &[9; 16]).await.unwrap();
    let error = session.read(&mut [0; 10]).await.unwrap_err();
    assert_eq!(error.kind(), io::ErrorKind::ConnectionReset);
    // The other pair is not concerned.
    host.flush().await.unwrap();
}

#[tokio::test]
async fn the_end_of_the_stream_is_an_error() {
    let (raw, other) = tokio::io::duplex(100);
    drop(raw);
    let error = serial::open(other, &[1; 16]).await.unwrap_err();
    assert!(matches!(
        error.kind(),
        io::ErrorKind::BrokenPipe | io::ErrorKind::UnexpectedEof
    ));
    let (wire, mut sessions) = port(100);
    drop(wire);
    assert!(timeout(SOON, sessions.next()).await.unwrap().is_none());
}

/// Nobody reads: what is accepted nevertheless is what the guest's end holds.
#[tokio::test]
async fn a_flood_is_held_back() {
    let (mut wire, mut sessions) = port(1000);
    let mut host = connect(&mut wire, 1).await;
    let mut guest = accept(&mut sessions).await;
    let pause = Duration::from_millis(200);

    let mut accepted = 0;
    while let Ok(written) = timeout(pause, guest.write(&[MARK; 4096])).await {
        accepted += written.unwrap();
    }
    assert!(accepted <= 3 * BUFFER, "guest end holds {accepted}");

    let mut accepted = 0;
    while let Ok(written) = timeout(pause, async {
        let written = host.write(&[MARK; 4096]).await?;
        host.flush().await?;
        io::Result::Ok(written)
    })
    .await
    {
        accepted += written.unwrap();
    }
    assert!(accepted <= 5 * BUFFER, "both ends hold {accepted}");
}

#[tokio::test]
async fn throughput() {
    const TOTAL: usize = 64 << 20;
    let (mut wire, mut sessions) = port(BUFFER);
    let mut host = connect(&mut wire, 1).await;
    let mut guest = accept(&mut sessions).await;
    let started = std::time::Instant::now();
    let writer = tokio::spawn(async move {
        let mut chunk = vec![0; 32 << 10];
        for (i, byte) in chunk.iter_mut().enumerate() {
            *byte = (i * 7) as u8;
        }
        for _ in 0..TOTAL / chunk.len() {
            guest.write_all(&chunk).await.unwrap();
        }
        guest
    });
    let mut data = vec![0; 32 << 10];
    let mut read = 0;
    while read < TOTAL {
        read += host.read(&mut data).await.unwrap();
    }
    let rate = TOTAL as f64 / started.elapsed().as_secs_f64() / 1e6;
    eprintln!("guest to host: {rate:.0} MB/s");
    assert!(rate > 20.0, "{rate} MB/s");
    drop(writer.await.unwrap());
}

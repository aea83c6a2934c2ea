//! Standard streams: every byte, in order, and the end when it is the end.

use std::io::Write;

use tokio::{io::AsyncReadExt, net::unix::pipe};

use super::*;

async fn running_with(f: &Fixture, stdio: Stdio) {
    f.sandbox.create(new_container(MAIN, stdio)).await.unwrap();
    f.sandbox.start(init(MAIN)).await.unwrap();
}

#[tokio::test]
async fn output_is_complete_before_the_exit_is_known() {
    let f = Fixture::new().await;
    let (stdio, path) = f.output_file();
    running_with(&f, stdio).await;
    let process = f.guest.process(MAIN);
    let chunk: Vec<u8> = (0..=255).cycle().take(100_000).collect();
    for _ in 0..100 {
        process.write(&chunk);
    }
    process.exit(0);
    soon(f.sandbox.wait(init(MAIN))).await.unwrap();
    let written = read(&path);
    assert_eq!(written.len(), 10_000_000);
    assert!(written.chunks(100_000).all(|part| part == chunk));
}

#[tokio::test]
async fn an_exit_waits_for_the_streams() {
    let f = Fixture::with_running(MAIN).await;
    let process = f.guest.process(MAIN);
    process.exit_only(3);
    process.write(b"late");
    assert_eq!(f.guest.calls("wait_process"), 0);
    assert!(f.sandbox.state(init(MAIN)).await.unwrap().exit.is_none());
    process.close_output();
    assert_eq!(soon(f.sandbox.wait(init(MAIN))).await.unwrap().status, 3);
}

#[tokio::test]
async fn a_fifo_needs_no_reader_to_be_opened() {
    let f = Fixture::new().await;
    let path = f.fifo("out");
    let stdio = Stdio {
        stdout: Some(Sink::Fifo(path.clone())),
        ..Stdio::default()
    };
    running_with(&f, stdio).await;
    f.guest.process(MAIN).write(b"before anybody reads");
    while !f.guest.process(MAIN).is_read() {
        tokio::task::yield_now().await;
    }
    let mut reader = pipe::OpenOptions::new().open_receiver(&path).unwrap();
    f.guest.process(MAIN).exit(0);
    soon(f.sandbox.wait(init(MAIN))).await.unwrap();
    let mut text = String::new();
    soon(reader.read_to_string(&mut text)).await.unwrap();
    assert_eq!(text, "before anybody reads");
}

/// Virtual time: it jumps to the deadline as soon as nothing else can happen.
#[tokio::test(start_paused = true)]
async fn a_killed_process_ends_although_nobody_reads_it() {
    let f = Fixture::new().await;
    let stdio = Stdio {
        stdout: Some(Sink::Fifo(f.fifo("out"))),
        ..Stdio::default()
    };
    running_with(&f, stdio).await;
    f.guest.process(MAIN).write(&vec![0; 1_000_000]);
    f.sandbox.signal(init(MAIN), 9).await.unwrap();
    let exit = timeout(Duration::from_secs(30), f.sandbox.wait(init(MAIN))).await;
    assert_eq!(exit.unwrap().unwrap().status, 137);
}

#[tokio::test]
async fn input_ends_with_the_last_writer_after_close_io() {
    let f = Fixture::new().await;
    let path = f.fifo("in");
    running_with(
        &f,
        Stdio {
            stdin: Some(path.clone()),
            ..Stdio::default()
        },
    )
    .await;
    let process = f.guest.process(MAIN);

    // A client comes and goes: the input stays open.
    std::fs::OpenOptions::new()
        .write(true)
        .open(&path)
        .unwrap()
        .write_all(b"one ")
        .unwrap();
    while process.stdin.lock().len() < 4 {
        tokio::task::yield_now().await;
    }
    let mut client = std::fs::OpenOptions::new().write(true).open(&path).unwrap();
    f.sandbox.close_stdin(init(MAIN)).await.unwrap();
    assert!(!*process.stdin_closed.borrow());

    client.write_all(b"two").unwrap();
    drop(client);
    let mut closed = process.stdin_closed.subscribe();
    soon(closed.wait_for(|closed| *closed)).await.unwrap();
    assert_eq!(*process.stdin.lock(), b"one two");
}

#[tokio::test]
async fn without_input_a_process_reads_the_end() {
    let f = Fixture::with_running(MAIN).await;
    let mut closed = f.guest.process(MAIN).stdin_closed.subscribe();
    soon(closed.wait_for(|closed| *closed)).await.unwrap();
}

#[tokio::test]
async fn a_stream_that_cannot_be_opened_fails_the_creation() {
    let f = Fixture::new().await;
    let stdio = Stdio {
        stdout: Some(Sink::Fifo("/nonexistent/fifo".into())),
        ..Stdio::default()
    };
    let error = f
        .sandbox
        .create(new_container(MAIN, stdio))
        .await
        .unwrap_err();
    assert!(matches!(error, Error::Stream { .. }), "{error}");
    assert!(f.vm.disks().is_empty());
}

#[tokio::test]
async fn a_file_to_write_to_must_be_one() {
    let f = Fixture::new().await;
    let unread = f.fifo("unread");
    let read = f.fifo("read");
    let both = std::fs::OpenOptions::new()
        .read(true)
        .write(true)
        .open(&read)
        .unwrap();
    for path in [unread, read, f.dir.path().to_owned(), "/dev/null".into()] {
        let stdio = Stdio {
            stdout: Some(Sink::File(path.clone())),
            ..Stdio::default()
        };
        let error = soon(f.sandbox.create(new_container(MAIN, stdio))).await;
        assert!(matches!(error, Err(Error::Stream { .. })), "{path:?}");
    }
    drop(both);
}

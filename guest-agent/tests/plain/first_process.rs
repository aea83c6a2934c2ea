//! What a first process and those beside it get, and how they end.

use std::os::unix::fs::{MetadataExt, PermissionsExt};

use super::*;

#[tokio::test(flavor = "multi_thread")]
async fn what_a_process_gets_and_how_it_ends() {
    let Some(plain) = Plain::start().await else {
        return;
    };
    streams_belong_to_the_user(&plain).await;
    nothing_else_is_open(&plain).await;
    working_directories(&plain).await;
    programs_that_cannot_be_executed(&plain).await;
    signals_without_a_handler(&plain).await;
    an_exec_after_the_end(&plain).await;
}

fn as_user(mut process: Process) -> Process {
    process.User = Some(User {
        UID: 1000,
        GID: 1000,
        ..Default::default()
    })
    .into();
    process
}

fn text(output: &[u8]) -> String {
    String::from_utf8_lossy(output).replace('\r', "")
}

/// An error's words, without how the protocol quotes them.
fn told(error: &ttrpc::Error) -> String {
    match error {
        ttrpc::Error::RpcStatus(status) => status.message().to_owned(),
        other => other.to_string(),
    }
}

async fn streams_belong_to_the_user(plain: &Plain) {
    // Opened by name, as by a server whose log is a link to it.
    let script = "for i in 0 1 2; do busybox stat -L -c %u /proc/self/fd/$i; done; \
                  for i in 1 2; do echo opened >/proc/self/fd/$i || echo refused; done; \
                  : </proc/self/fd/0";
    for terminal in [false, true] {
        let mut seen = as_user(process(&["sh", "-c", script]));
        seen.Terminal = terminal;
        let opened = "opened\n".repeat(if terminal { 2 } else { 1 });
        let expected = format!("{}{opened}", "1000\n".repeat(3));
        plain.begin("first", seen.clone()).await;
        assert_eq!(text(&plain.output("first", "").await), expected);
        assert_eq!(plain.wait("first", "").await, 0);
        plain.remove("first").await;

        plain.begin("beside", process(&["sleep", "1000"])).await;
        plain.execute("beside", "user", seen).await.unwrap();
        assert_eq!(text(&plain.output("beside", "user").await), expected);
        assert_eq!(plain.wait("beside", "user").await, 0);
        plain.remove("beside").await;
    }
}

/// Not the zygote's log of errors either, whichever way the process was made.
async fn nothing_else_is_open(plain: &Plain) {
    let look = || process(&["sh", "-c", "busybox ls /proc/$$/fd; true"]);
    for cwd in ["/", "/made/by/the/hook"] {
        let mut first = look();
        first.Cwd = cwd.into();
        plain.begin("open", first).await;
        assert_eq!(text(&plain.output("open", "").await), "0\n1\n2\n", "{cwd}");
        plain.wait("open", "").await;
        plain.remove("open").await;
    }
    plain.begin("open", process(&["sleep", "1000"])).await;
    plain.execute("open", "beside", look()).await.unwrap();
    let seen = plain.output("open", "beside").await;
    assert_eq!(text(&seen), "0\n1\n2\n");
    plain.remove("open").await;
}

async fn working_directories(plain: &Plain) {
    let rootfs = plain.directory.path().join("rootfs");
    fs::create_dir(rootfs.join("real")).unwrap();
    symlink("/real", rootfs.join("link")).unwrap();
    symlink("/nowhere", rootfs.join("dangling")).unwrap();
    fs::write(rootfs.join("file"), "").unwrap();
    let within = |cwd: &str, terminal| {
        let mut process = as_user(process(&["busybox", "pwd", "-P"]));
        process.Cwd = cwd.into();
        process.Terminal = terminal;
        process
    };
    for (cwd, real, terminal) in [
        ("/no/such", "/no/such", false),
        ("/link/below", "/real/below", true),
    ] {
        plain.begin("cwd", within(cwd, terminal)).await;
        assert_eq!(text(&plain.output("cwd", "").await), format!("{real}\n"));
        assert_eq!(plain.wait("cwd", "").await, 0);
        plain.remove("cwd").await;
        let made = fs::metadata(rootfs.join(&real[1..])).unwrap();
        assert_eq!((made.uid(), made.permissions().mode() & 0o7777), (0, 0o755));
    }
    for (cwd, reason) in [
        ("/file", "not a directory"),
        ("/file/below", "not a directory"),
        ("/dangling/below", "not a directory"),
        // Of the runtime, whose root is another yet.
        (
            "/proc/1/root/imprint-escaped",
            "too many levels of symbolic links",
        ),
    ] {
        let error = plain.create("cwd", within(cwd, false)).await.unwrap_err();
        assert_eq!(
            told(&error),
            format!("Could not create container cwd: working directory {cwd}: {reason}")
        );
    }
    assert!(!Path::new("/imprint-escaped").exists(), "made outside");
    plain.begin("cwd", process(&["sleep", "1000"])).await;
    let absent = within("/never", false);
    let error = plain.execute("cwd", "absent", absent).await.unwrap_err();
    assert_eq!(
        told(&error),
        "Could not start a process in container cwd: working directory /never: no such \
         file or directory"
    );
    assert!(!rootfs.join("never").exists(), "an exec makes none");
    plain.remove("cwd").await;
}

async fn programs_that_cannot_be_executed(plain: &Plain) {
    let rootfs = plain.directory.path().join("rootfs");
    let mut foreign = b"\x7fELF\x02\x01\x01".to_vec();
    foreign.resize(64, 0);
    for (name, content) in [
        ("script", &b"echo hi\n"[..]),
        ("lost", b"#!/no/interpreter\n"),
        ("carriage", b"#!/bin/sh\r\n"),
        ("empty", b""),
        ("foreign", &foreign),
    ] {
        let path = rootfs.join(name);
        fs::write(&path, content).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
    }
    fs::write(rootfs.join("plain"), "").unwrap();
    plain.begin("other", process(&["sleep", "1000"])).await;
    let long = "x".repeat(200_000);
    for (arguments, reason) in [
        (vec!["/script"], "exec /script: exec format error"),
        (vec!["/lost"], "exec /lost: no such file or directory"),
        (
            vec!["/carriage"],
            "exec /carriage: no such file or directory",
        ),
        (vec!["/empty"], "exec /empty: exec format error"),
        (vec!["/foreign"], "exec /foreign: exec format error"),
        (
            vec!["sh", "-c", "true", &long],
            "exec /bin/sh: argument list too long",
        ),
    ] {
        plain.begin("cannot", process(&arguments)).await;
        assert_eq!(text(&plain.errors("cannot").await), format!("{reason}\n"));
        assert_eq!(plain.wait("cannot", "").await, 1, "{reason}");
        plain.remove("cannot").await;
        let refused = plain.execute("other", "cannot", process(&arguments)).await;
        assert_eq!(
            told(&refused.unwrap_err()),
            format!("Could not start a process in container other: {reason}")
        );
    }
    for (program, reason) in [
        ("/tmp", "permission denied"),
        ("/plain", "permission denied"),
        ("/missing", "stat /missing: no such file or directory"),
    ] {
        let refused = plain.create("cannot", process(&[program])).await;
        assert_eq!(
            told(&refused.unwrap_err()),
            format!("Could not create container cannot: exec: {program:?}: {reason}")
        );
    }
    // Longer than a message between the agent and the zygote.
    let refused = plain.create("cannot", process(&[&long])).await;
    let refused = told(&refused.unwrap_err());
    assert!(!refused.contains("no answer"), "{refused}");
    plain.remove("other").await;
}

/// The first process of a pid namespace gets what it handles, and SIGKILL.
async fn signals_without_a_handler(plain: &Plain) {
    plain.begin("spared", process(&["sleep", "1000"])).await;
    for signal in [
        libc::SIGTERM,
        libc::SIGINT,
        libc::SIGQUIT,
        libc::SIGUSR1,
        40,
    ] {
        plain.kill("spared", "", signal).await;
    }
    plain
        .execute("spared", "after", process(&["true"]))
        .await
        .unwrap();
    assert_eq!(plain.wait("spared", "after").await, 0);
    plain.kill("spared", "", libc::SIGKILL).await;
    assert_eq!(plain.wait("spared", "").await, 137);
    plain.remove("spared").await;

    // What was never started is nobody's program yet.
    plain.create("waits", process(&["true"])).await.unwrap();
    plain.kill("waits", "", libc::SIGTERM).await;
    assert_eq!(plain.wait("waits", "").await, 137);
    plain.remove("waits").await;
}

/// Processes are started while the first process ends: each one starts, or fails with that reason.
async fn an_exec_after_the_end(plain: &Plain) {
    for round in 0..10 {
        plain
            .begin("short", process(&["sleep", &format!("0.{}", 10 + round)]))
            .await;
        let mut refused = None;
        for number in 0..1000 {
            let exec_id = format!("beside-{number}");
            let made = plain.execute("short", &exec_id, process(&["true"])).await;
            if let Err(error) = made {
                refused = Some(told(&error));
                break;
            }
        }
        assert_eq!(refused.as_deref(), Some("Container short has ended"));
        plain.remove("short").await;
    }
}

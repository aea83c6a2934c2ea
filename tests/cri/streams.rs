//! Exec, attach, logs, port-forward.

use std::time::{Duration, Instant};

use e2e_tests::harness::Case;
use playground::{
    Error, Result,
    cri::{Channel, Kubelet, Session, api},
    ensure,
    node::Node,
    program::Program,
    wait::Deadline,
};

use crate::pods::{same, service};

/// Bytes that are copied into a container.
const LARGE: usize = 1_000_000;

/// Execs at the same time.
const EXECS: usize = 50;

pub fn cases() -> Vec<Case> {
    vec![
        Case::new("streams::exec_sync_codes_outputs_and_timeouts", exec_sync),
        Case::new("streams::exec_with_streams_and_with_a_terminal", exec),
        Case::new("streams::attach_and_input", attach),
        Case::new("streams::logs_tell_streams_apart_and_can_be_rotated", logs),
        Case::new("streams::fifty_execs_at_once", fifty),
    ]
}

fn deadline() -> Deadline {
    Deadline::after(Duration::from_secs(30))
}

fn exec_sync(node: &Node) -> Result<()> {
    let kubelet = Kubelet::new(node);
    let pod = kubelet.run("exec")?;
    let container = service(&pod)?;
    let seen = container.exec(&["sh", "-c", "echo out; echo err >&2; exit 3"])?;
    ensure!(
        seen == (3, "out\n".to_owned(), "err\n".to_owned()),
        "{seen:?}"
    );
    let (code, stdout, _) = container.exec(&["sh", "-c", "yes | head -c 1000000"])?;
    ensure!(
        code == 0 && stdout.len() == 1_000_000,
        "{code}, {} bytes",
        stdout.len()
    );

    let began = Instant::now();
    let late = kubelet
        .cri()
        .exec_sync(container.id(), &["sleep", "3333"], 1);
    let took = began.elapsed();
    ensure!(matches!(late, Err(Error::Rpc { code: 4, .. })), "{late:?}");
    ensure!(took < Duration::from_secs(10), "The timeout took {took:?}");
    same(
        "What was timed out",
        &container.shell("ps | grep -v grep | grep -c 'sleep 3333'; true")?,
        "0",
    )?;

    let absent = container.exec(&["no-such-program"]);
    let told = match absent {
        Ok((code, _, stderr)) => format!("{code} {stderr}"),
        Err(error) => error.to_string(),
    };
    ensure!(told.contains("no-such-program"), "{told}");
    container.stop(5)?;
    let ended = container.exec(&["true"]);
    ensure!(ended.is_err(), "An exec in what has ended: {ended:?}");
    pod.remove()
}

fn request(id: &str, command: &[&str], terminal: bool) -> api::ExecRequest {
    let mut request = api::ExecRequest::new();
    id.clone_into(&mut request.container_id);
    request.cmd = command.iter().map(|&word| word.to_owned()).collect();
    request.tty = terminal;
    request.stdin = true;
    request.stdout = true;
    request.stderr = !terminal;
    request
}

fn exec(node: &Node) -> Result<()> {
    let kubelet = Kubelet::new(node);
    let pod = kubelet.run("exec")?;
    let container = service(&pod)?;
    let open = |command: &[&str], terminal| {
        let url = kubelet
            .cri()
            .exec(&request(container.id(), command, terminal))?;
        Session::open(&url, deadline())
    };
    let script = "read line; echo got-$line; echo error-$line >&2; exit 5";
    let mut session = open(&["sh", "-c", script], false)?;
    session.input(b"word\n")?;
    session.finish()?;
    same("stdout", &session.text(Channel::Stdout), "got-word")?;
    same("stderr", &session.text(Channel::Stderr), "error-word")?;
    ensure!(
        session.exit_code() == Some(5),
        "{}",
        session.text(Channel::Error)
    );

    // As `kubectl cp` sends files: bytes of all values, on standard input.
    let bytes: Vec<u8> = (0..LARGE).map(|n| (n * 7 % 251) as u8).collect();
    let script = format!("head -c {LARGE} > /tmp/copied; sha256sum < /tmp/copied");
    let mut session = open(&["sh", "-c", &script], false)?;
    for part in bytes.chunks(32_000) {
        session.input(part)?;
    }
    session.finish()?;
    let digest = Program::new("sha256sum").input(bytes).succeed()?;
    same(
        "What was copied",
        &session.text(Channel::Stdout),
        digest.trim_end(),
    )?;

    let mut session = open(&["sh"], true)?;
    session.input(b"tty -s && echo sum=$((40+2))\n")?;
    session.read_until(Channel::Stdout, "sum=42\r\n")?;
    session.resize(123, 45)?;
    // The new size is a message of its own, which may arrive after what is typed next.
    session.input(
        b"for i in $(seq 50); do [ \"$(stty size)\" = '45 123' ] && break; sleep 0.1; \
        done; stty size\n",
    )?;
    session.read_until(Channel::Stdout, "\r\n45 123\r\n")?;
    session.input(b"exit 9\n")?;
    session.finish()?;
    ensure!(
        session.exit_code() == Some(9),
        "{}",
        session.text(Channel::Error)
    );
    pod.remove()
}

fn attach(node: &Node) -> Result<()> {
    let kubelet = Kubelet::new(node);
    let pod = kubelet.run("attach")?;
    let script = "echo up; while read line; do echo got-$line; [ $line = end ] && exit 4; done";
    let container = pod.start_with("attach", script, |config| config.stdin = true)?;
    container.logged("up")?;
    let mut request = api::AttachRequest::new();
    container.id().clone_into(&mut request.container_id);
    request.stdin = true;
    request.stdout = true;
    request.stderr = true;
    let url = kubelet.cri().attach(&request)?;
    let mut session = Session::open(&url, deadline())?;
    session.input(b"one\n")?;
    session.read_until(Channel::Stdout, "got-one\n")?;
    session.input(b"end\n")?;
    let ended = container.ended()?;
    ensure!(ended.exit_code == 4, "{ended}");
    container.logged("got-end")?;
    pod.remove()
}

fn logs(node: &Node) -> Result<()> {
    let kubelet = Kubelet::new(node);
    let pod = kubelet.run("logs")?;
    let script = "echo one; echo two >&2; printf no-newline; trap 'echo; echo late; exit 0' TERM; \
        echo; echo up; while :; do sleep 0.1; done";
    let container = pod.start("logs", script)?;
    // Of two streams neither waits for the other.
    container.logged("up")?;
    container.logged("two")?;
    let lines = container.log();
    let told = |stream: &str, text: &str| {
        lines
            .iter()
            .filter(|line| **line == (stream.to_owned(), text.to_owned()))
            .count()
    };
    ensure!(
        told("stdout", "one") == 1 && told("stderr", "two") == 1,
        "{lines:?}"
    );
    let rotated = container.log_path().with_extension("rotated");
    std::fs::rename(container.log_path(), &rotated).map_err(Error::io("Rotating", &rotated))?;
    container.reopen_log()?;
    container.stop(10)?;
    container.logged("late")?;
    ensure!(
        container.log().iter().all(|(_, text)| text != "one"),
        "{:?}",
        container.log()
    );
    pod.remove()
}

fn fifty(node: &Node) -> Result<()> {
    let kubelet = Kubelet::new(node);
    let pod = kubelet.run("fifty")?;
    let container = service(&pod)?;
    let began = Instant::now();
    let outcomes: Vec<Result<()>> = std::thread::scope(|scope| {
        let execs = (0..EXECS).map(|n| {
            let container = &container;
            scope.spawn(move || {
                let (code, stdout, _) =
                    container.exec(&["sh", "-c", &format!("echo {n}; exit {n}")])?;
                ensure!(
                    usize::try_from(code) == Ok(n) && stdout == format!("{n}\n"),
                    "Exec {n}: {code} {stdout:?}"
                );
                Ok(())
            })
        });
        let execs: Vec<_> = execs.collect();
        let lost = || Err(Error::Unexpected("A thread was lost".to_owned()));
        execs
            .into_iter()
            .map(|exec| exec.join().unwrap_or_else(|_| lost()))
            .collect()
    });
    outcomes.into_iter().collect::<Result<()>>()?;
    println!(
        "    {EXECS} execs in {:.1} s",
        began.elapsed().as_secs_f64()
    );
    pod.remove()
}

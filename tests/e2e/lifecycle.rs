//! What `ctr task` does to a container that runs.

use std::time::Duration;

use e2e_tests::{events::Events, harness::Case};
use playground::{Result, ensure, node::Node, running::Running};

/// Ends at SIGTERM with 0; a first process that does not ask for the signal never gets it.
const SERVICE: &str = "trap 'exit 0' TERM; echo up; sleep 1000 & wait";

pub fn cases() -> Vec<Case> {
    vec![
        Case::new("exec_runs_beside_the_container", exec),
        Case::new("signals_arrive_and_end_it", kill),
        Case::new("a_paused_container_stands_still", pause),
        Case::new("metrics_and_ls_tell_of_it", metrics_and_ls),
        Case::new("events_come_in_order", events),
    ]
}

/// A container that prints `up` and stays until it is told to end.
pub fn service(node: &Node, name: &str) -> Result<(String, Running)> {
    let id = node.unique_id(name);
    let mut running = node.ctr().run(&id).shell(SERVICE).start()?;
    running.read_until("up\n")?;
    Ok((id, running))
}

fn exec(node: &Node) -> Result<()> {
    let ctr = node.ctr();
    let (id, running) = service(node, "exec")?;
    let shell = |exec_id: &str, script: &str| ctr.exec(&id, exec_id, &[], &["sh", "-c", script]);

    let ended = shell("one", "echo out; echo err >&2; exit 3").run()?;
    ensure!(
        (ended.code, ended.stdout.as_str()) == (3, "out\n"),
        "{ended:?}"
    );
    ensure!(ended.stderr == "err\n", "{ended:?}");
    for (exec_id, signal, code) in [("term", "TERM", 143), ("kill", "KILL", 137)] {
        let ended = shell(exec_id, &format!("kill -{signal} $$")).run()?;
        ensure!(
            ended.code == code,
            "SIG{signal} arrived as {}: {}",
            ended.code,
            ended.stderr
        );
    }
    let input = ctr
        .exec(&id, "in", &[], &["cat"])
        .input("to and fro")
        .run()?;
    ensure!(input.stdout == "to and fro", "{input:?}");
    let tty = ctr.exec(
        &id,
        "tty",
        &["--tty"],
        &["sh", "-c", "tty -s && echo sum=$((40+2))"],
    );
    let tty = tty.terminal().run()?;
    ensure!(tty.stdout.contains("sum=42\r"), "{tty:?}");
    let absent = ctr.exec(&id, "absent", &[], &["no-such-program"]).run()?;
    ensure!(
        absent.code != 0 && absent.stderr.contains("no-such-program"),
        "{absent:?}"
    );

    ctr.call(&["task", "kill", "--signal", "TERM", &id])
        .succeed()?;
    let ended = running.finish()?;
    ensure!(ended.code == 0, "{ended:?}");
    Ok(())
}

fn kill(node: &Node) -> Result<()> {
    let ctr = node.ctr();
    for (signal, code) in [("TERM", 0), ("KILL", 137)] {
        let (id, running) = service(node, "kill")?;
        ctr.call(&["task", "kill", "--signal", signal, &id])
            .succeed()?;
        let ended = running.finish()?;
        ensure!(
            ended.code == code,
            "SIG{signal} ended it with {}: {}",
            ended.code,
            ended.stderr
        );
    }
    let missing = ctr.call(&["task", "kill", "imprint-no-such-task"]).run()?;
    ensure!(
        missing.code != 0 && missing.stderr.contains("not found"),
        "{missing:?}"
    );
    Ok(())
}

fn pause(node: &Node) -> Result<()> {
    let ctr = node.ctr();
    let id = node.unique_id("pause");
    let script = "trap 'exit 0' TERM; echo up; while read line; do echo got-$line; done";
    let mut running = ctr.run(&id).shell(script).open_input().start()?;
    running.read_until("up\n")?;
    running.write(b"one\n");
    running.read_until("got-one\n")?;

    ctr.call(&["task", "pause", &id]).succeed()?;
    let listed = ctr.call(&["task", "ls"]).succeed()?;
    let row = listed
        .lines()
        .find(|line| line.starts_with(&id))
        .unwrap_or_default();
    ensure!(row.contains("PAUSED"), "{listed}");
    running.write(b"two\n");
    let early = running.read_until_within("got-two\n", Duration::from_millis(300));
    ensure!(early.is_err(), "A paused container answered");

    ctr.call(&["task", "resume", &id]).succeed()?;
    running.read_until("got-two\n")?;
    let ended = running.finish()?;
    ensure!(ended.code == 0, "{ended:?}");
    Ok(())
}

fn metrics_and_ls(node: &Node) -> Result<()> {
    let ctr = node.ctr();
    let (id, running) = service(node, "metrics")?;
    let metrics = ctr.call(&["task", "metrics", &id]).succeed()?;
    for needed in [&*id, "memory.", "cpu"] {
        ensure!(
            metrics.contains(needed),
            "No {needed} in the metrics:\n{metrics}"
        );
    }
    let listed = ctr.call(&["task", "ls"]).succeed()?;
    let row = listed
        .lines()
        .find(|line| line.starts_with(&id))
        .unwrap_or_default();
    ensure!(row.contains("RUNNING"), "{listed}");
    let processes = ctr.call(&["task", "ps", &id]).succeed()?;
    ensure!(processes.lines().count() > 1, "{processes}");
    ctr.call(&["task", "kill", "--signal", "KILL", &id])
        .succeed()?;
    running.finish()?;
    let listed = ctr.call(&["task", "ls"]).succeed()?;
    ensure!(!listed.contains(&id), "{listed}");
    Ok(())
}

fn events(node: &Node) -> Result<()> {
    let ctr = node.ctr();
    let id = node.unique_id("events");
    let mut events = Events::listen(ctr)?;
    ctr.run(&id).command(&["true"]).succeed()?;
    events.wait_for("/tasks/delete", &id)?;
    let topics = events.topics(&id);
    let expected = [
        "/tasks/create",
        "/tasks/start",
        "/tasks/exit",
        "/tasks/delete",
    ];
    ensure!(topics == expected, "Events came as {topics:?}");
    Ok(())
}

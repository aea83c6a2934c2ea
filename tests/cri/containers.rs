//! Containers of a pod: how they end, start again, and what their status tells.

use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use e2e_tests::harness::Case;
use playground::{
    Result,
    cri::{ContainerState, Kubelet},
    ensure,
    node::Node,
};

use crate::pods::{same, service};

pub fn cases() -> Vec<Case> {
    vec![
        Case::new("containers::states_codes_reasons_and_times", states),
        Case::new(
            "containers::a_container_that_ended_is_started_again_as_a_new_one",
            restart,
        ),
        Case::new("containers::a_stop_is_graceful_within_its_time", graceful),
        Case::new("containers::what_cannot_start_says_so", cannot_start),
        Case::new(
            "containers::all_processes_end_with_their_container",
            all_processes,
        ),
    ]
}

fn now() -> i64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH);
    i64::try_from(since.unwrap_or_default().as_nanos()).unwrap_or(i64::MAX)
}

fn states(node: &Node) -> Result<()> {
    let kubelet = Kubelet::new(node);
    let began = now();
    let pod = kubelet.run("states")?;
    let scripts = [
        ("zero", "true", 0, "Completed"),
        ("three", "exit 3", 3, "Error"),
        ("killed", "kill -KILL $$; sleep 100", 137, "Error"),
        ("terminated", "kill -TERM $$; sleep 100", 143, "Error"),
    ];
    for (name, script, code, reason) in scripts {
        // The first process of a PID namespace cannot kill itself: a child is asked to.
        let script = match code {
            137 | 143 => format!("sh -c '{script}'; exit $?"),
            _ => script.to_owned(),
        };
        let container = pod.create(name, &script, |_| ())?;
        let created = container.status()?;
        ensure!(created.state == ContainerState::Created as i32, "{created}");
        ensure!(
            created.created_at >= began && created.started_at == 0,
            "{created}"
        );
        container.start()?;
        let ended = container.ended()?;
        ensure!(
            (ended.exit_code, ended.reason.as_str()) == (code, reason),
            "{name}: {ended}"
        );
        // containerd notes the start when the runtime has answered: what ends at once may be over
        // by then.
        ensure!(
            ended.started_at >= ended.created_at
                && ended.finished_at >= ended.created_at
                && ended.finished_at <= now(),
            "{name}: {ended}"
        );
        container.remove()?;
    }
    let running = service(&pod)?;
    let status = running.status()?;
    ensure!(status.state == ContainerState::Running as i32, "{status}");
    ensure!(status.started_at > 0 && status.finished_at == 0, "{status}");
    // A pod that is removed takes its containers along.
    let id = running.id().to_owned();
    pod.remove()?;
    ensure!(kubelet.cri().status(&id).is_err(), "It outlived its pod");
    Ok(())
}

fn restart(node: &Node) -> Result<()> {
    let kubelet = Kubelet::new(node);
    let pod = kubelet.run("again")?;
    let other = service(&pod)?;
    for attempt in 0..3 {
        let again = pod.start_with("again", "echo attempt; exit 1", |config| {
            config.metadata.mut_or_insert_default().attempt = attempt;
            config.log_path = format!("again-{attempt}.log");
        })?;
        let ended = again.ended()?;
        ensure!(ended.exit_code == 1, "{ended}");
        again.logged("attempt")?;
        again.remove()?;
    }
    same("The other one", &other.shell("echo there")?, "there")?;
    pod.remove()
}

fn graceful(node: &Node) -> Result<()> {
    let kubelet = Kubelet::new(node);
    let pod = kubelet.run("grace")?;
    let script = "trap 'echo term; n=$((n+1)); [ $n = 1 ] && exit 7' TERM; echo up; while :; \
        do sleep 0.1; done";
    let polite = pod.start("polite", script)?;
    polite.logged("up")?;
    let began = Instant::now();
    polite.stop(30)?;
    ensure!(
        began.elapsed() < Duration::from_secs(10),
        "It took {:?}",
        began.elapsed()
    );
    let ended = polite.status()?;
    ensure!(ended.exit_code == 7, "{ended}");
    let terms = polite
        .log()
        .iter()
        .filter(|(_, text)| text == "term")
        .count();
    ensure!(terms == 1, "SIGTERM came {terms} times");

    let deaf = pod.start("deaf", "trap '' TERM; echo up; while :; do sleep 1; done")?;
    deaf.logged("up")?;
    let began = Instant::now();
    deaf.stop(2)?;
    let took = began.elapsed();
    ensure!(
        took >= Duration::from_secs(2) && took < Duration::from_secs(10),
        "It took {took:?}"
    );
    let ended = deaf.status()?;
    ensure!(ended.exit_code == 137, "{ended}");
    pod.remove()
}

fn cannot_start(node: &Node) -> Result<()> {
    let kubelet = Kubelet::new(node);
    let pod = kubelet.run("cannot")?;
    let absent = pod.create("absent", "", |config| {
        config.command = vec!["/no-such-program".to_owned()];
    });
    // Either call may be the one that finds out.
    let error = match &absent {
        Ok(container) => container.start().err(),
        Err(_) => None,
    };
    let told = match (&absent, error) {
        (Err(error), _) => error.to_string(),
        (Ok(container), Some(error)) => {
            let status = container.status()?;
            ensure!(
                status.state == ContainerState::Exited as i32 && status.exit_code != 0,
                "{status}"
            );
            error.to_string()
        }
        (Ok(_), None) => "it was started".to_owned(),
    };
    ensure!(told.contains("no-such-program"), "{told}");
    println!("    {told}");
    // The pod is none the worse.
    let container = service(&pod)?;
    same(
        "Another container",
        &container.shell("echo there")?,
        "there",
    )?;
    let (code, _, _) = container.exec(&["/bin/false"])?;
    ensure!(code == 1, "{code}");
    pod.remove()
}

fn all_processes(node: &Node) -> Result<()> {
    let kubelet = Kubelet::new(node);
    let shared = |config: &mut playground::cri::api::ContainerConfig| {
        let linux = config.linux.mut_or_insert_default();
        let context = linux.security_context.mut_or_insert_default();
        context.namespace_options.mut_or_insert_default().pid = crate::pods::POD;
    };
    let pod = kubelet.run("all")?;
    let looking = pod.start_with("looking", crate::pods::SERVICE, shared)?;
    let script = "(setsid sleep 4444 &) ; sleep 5555";
    let many = pod.start_with("many", script, shared)?;
    let count = "ps | grep -v grep | grep -c 'sleep [45][45][45][45]'; true";
    let seen = looking.shell(&format!(
        "for i in $(seq 50); do [ $({count}) = 2 ] && break; sleep 0.1; done; {count}"
    ))?;
    same("Processes before", &seen, "2")?;
    many.stop(0)?;
    many.remove()?;
    same("Processes after", &looking.shell(count)?, "0")?;
    pod.remove()
}

//! Processes that are killed under a container that runs.

use std::time::Duration;

use e2e_tests::{events::Events, harness::Case};
use playground::{Error, Result, ensure, node::Node, proc::Process, wait::Deadline};

use crate::lifecycle::service;

pub fn cases() -> Vec<Case> {
    vec![
        Case::new("a_killed_vmm_ends_the_task", killed_vmm),
        Case::new("a_killed_shim_is_cleaned_up_after", killed_shim),
        Case::new(
            "a_client_killed_during_the_start_leaves_nothing",
            client_killed_early,
        )
        .early(),
        Case::new(
            "a_killed_client_leaves_a_task_that_can_be_removed",
            killed_client,
        ),
    ]
}

fn only(processes: Vec<Process>, what: &str) -> Result<Process> {
    let count = processes.len();
    let one = processes.into_iter().next().filter(|_| count == 1);
    one.ok_or_else(|| Error::Unexpected(format!("{count} {what} run instead of one")))
}

fn killed_vmm(node: &Node) -> Result<()> {
    let (id, running) = service(node, "vmm")?;
    let mut events = Events::listen(node.ctr())?;
    only(node.vmms(), "VMMs")?.kill()?;
    let ended = running.finish()?;
    ensure!(ended.code != 0, "A task whose VMM was killed ended with 0");
    events.wait_for("/tasks/exit", &id)?;
    events.wait_for("/tasks/delete", &id)?;
    let listed = node.ctr().call(&["task", "ls"]).succeed()?;
    ensure!(!listed.contains(&id), "{listed}");
    println!(
        "    the task ended with {}: {}",
        ended.code,
        ended.stderr.trim()
    );
    Ok(())
}

fn killed_shim(node: &Node) -> Result<()> {
    let (id, running) = service(node, "shim")?;
    let mut events = Events::listen(node.ctr())?;
    let vmm = only(node.vmms(), "VMMs")?;
    only(node.shims(), "shims")?.kill()?;
    // containerd sees the connection end, and calls the shim's `delete`.
    events.wait_for("/tasks/exit", &id)?;
    events.wait_for("/tasks/delete", &id)?;
    vmm.wait_gone(Deadline::after(Duration::from_secs(10)))?;
    let ended = running.finish()?;
    ensure!(ended.code != 0, "A task whose shim was killed ended with 0");
    let listed = node.ctr().call(&["task", "ls"]).succeed()?;
    ensure!(!listed.contains(&id), "{listed}");
    // The client may or may not have tidied up before it gave up.
    if node.ctr().containers()?.contains(&id) {
        node.ctr().remove(&id)?;
    }
    node.ctr().remove_fifos()
}

fn killed_client(node: &Node) -> Result<()> {
    let (id, running) = service(node, "client")?;
    // Dropped before its end, the client is killed; the task does not depend on it.
    drop(running);
    let listed = node.ctr().call(&["task", "ls"]).succeed()?;
    let row = listed
        .lines()
        .find(|line| line.starts_with(&id))
        .unwrap_or_default();
    ensure!(row.contains("RUNNING"), "{listed}");
    node.ctr().remove(&id)?;
    node.ctr().remove_fifos()
}

/// A client that gives up, as kubelet does when a start takes too long for it.
fn client_killed_early(node: &Node) -> Result<()> {
    let id = node.unique_id("early");
    let mark = node.mark();
    let running = node.ctr().run(&id).shell("sleep 1000").start()?;
    let deadline = Deadline::after(Duration::from_secs(10));
    node.log()
        .wait_for(mark, deadline, "the shim to serve", |line| {
            (line.contains("shim serves") && line.contains(&id)).then_some(())
        })?;
    drop(running);
    node.ctr().remove(&id)?;
    node.ctr().remove_fifos()
}

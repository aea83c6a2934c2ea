//! Processes that are killed under a container that runs.

use imprint_tests::{Error, Result, ensure, proc::Process, running::Running};

use crate::{
    harness::{Case, Context},
    lifecycle::service,
};

pub fn cases() -> Vec<Case> {
    vec![
        Case::new("a_killed_vmm_ends_the_task", killed_vmm),
        Case::new("a_killed_shim_is_cleaned_up_after", killed_shim),
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

/// A listener for containerd's events that is known to listen.
fn listen(context: &Context<'_>) -> Result<Running> {
    let ctr = context.node.ctr();
    let label = context.node.unique_id("label");
    let mut listener = ctr.call(&["events"]).start()?;
    ctr.call(&["namespace", "label", "default", &format!("imprint={label}")])
        .succeed()?;
    listener.read_until(&label)?;
    Ok(listener)
}

fn killed_vmm(context: &Context<'_>) -> Result<()> {
    let node = context.node;
    let (id, running) = service(context, "vmm")?;
    let mut events = listen(context)?;
    only(node.vmms(), "VMMs")?.kill()?;
    let ended = running.finish()?;
    ensure!(ended.code != 0, "A task whose VMM was killed ended with 0");
    events.read_until("/tasks/exit")?;
    events.read_until("/tasks/delete")?;
    let listed = node.ctr().call(&["task", "ls"]).succeed()?;
    ensure!(!listed.contains(&id), "{listed}");
    println!(
        "    the task ended with {}: {}",
        ended.code,
        ended.stderr.trim()
    );
    Ok(())
}

fn killed_shim(context: &Context<'_>) -> Result<()> {
    let node = context.node;
    let (id, running) = service(context, "shim")?;
    let mut events = listen(context)?;
    let vmm = only(node.vmms(), "VMMs")?;
    only(node.shims(), "shims")?.kill()?;
    // containerd sees the connection end, and calls the shim's `delete`.
    events.read_until("/tasks/exit")?;
    events.read_until("/tasks/delete")?;
    vmm.wait_gone(imprint_tests::wait::Deadline::after(
        std::time::Duration::from_secs(10),
    ))?;
    let ended = running.finish()?;
    ensure!(ended.code != 0, "A task whose shim was killed ended with 0");
    let listed = node.ctr().call(&["task", "ls"]).succeed()?;
    ensure!(!listed.contains(&id), "{listed}");
    // The client may or may not have removed its container before it gave up.
    if node.ctr().containers()?.contains(&id) {
        node.ctr().remove(&id)?;
    }
    Ok(())
}

fn killed_client(context: &Context<'_>) -> Result<()> {
    let node = context.node;
    let (id, running) = service(context, "client")?;
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

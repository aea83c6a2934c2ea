//! Takes a container out of the guest and gives back what it held.

use std::sync::Arc;

use agent_client::{Agent, agent::RemoveContainerRequest};
use hypervisors::Vm;
use slog::{Logger, warn};

use super::{Held, RootDisks};

/// Seconds the agent may take to kill and free a container.
const REMOVE_SECONDS: u32 = 10;

/// Removes a container from a VM that goes on running. What the guest refuses to let go of stays in
/// the VM until that ends; it is logged and does not fail the removal.
pub(crate) async fn remove(
    vm: Arc<dyn Vm>,
    agent: Agent,
    disks: Arc<RootDisks>,
    id: String,
    held: Option<Held>,
    log: Logger,
) {
    let clean = remove_from_guest(&agent, &id, &log).await;
    let Some(held) = held else { return };
    if !clean {
        // What was written may not be on its disks yet, and another must not get their places.
        return disks.give_up(&id, &held.disks);
    }
    held.volumes.release(&*vm, &log).await;
    disks.detach(&*vm, &id, &held.disks).await;
}

/// Lets the agent kill what is left of a container and unmount its storages, so that everything
/// written is on its disks. Tells whether it did.
pub(crate) async fn remove_from_guest(agent: &Agent, id: &str, log: &Logger) -> bool {
    let request = RemoveContainerRequest {
        container_id: id.to_owned(),
        timeout: REMOVE_SECONDS,
        ..Default::default()
    };
    let removed = agent.remove_container(request).await;
    if let Err(error) = &removed {
        warn!(log, "guest did not remove a container"; "container" => id, "error" => %error);
    }
    removed.is_ok()
}

//! Removes a container from the guest, and frees its resources.

use std::sync::Arc;

use agent_client::{Agent, agent::RemoveContainerRequest};
use hypervisors::Vm;
use slog::{Logger, warn};
use system::error::chain;

use super::{Held, RootDisks};

/// How long the agent may take to kill and free a container, in seconds.
const REMOVE_SECONDS: u32 = 10;

/// Removes a container from a running VM. Disks that the guest does not free stay in the VM until
/// that ends; this is logged and is not an error.
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
        // Written data may not be on its disks yet, and another container must not get their slots.
        return disks.abandon(&id, &held.disks);
    }
    held.volumes.release(&*vm, &log).await;
    disks.detach(&*vm, &id, &held.disks).await;
}

/// Lets the agent kill what is left of a container and unmount its storages, so that all written
/// data is on its disks. Returns whether it did.
pub(crate) async fn remove_from_guest(agent: &Agent, id: &str, log: &Logger) -> bool {
    let request = RemoveContainerRequest {
        container_id: id.to_owned(),
        timeout: REMOVE_SECONDS,
        ..Default::default()
    };
    let removed = agent.remove_container(request).await;
    if let Err(error) = &removed {
        warn!(log, "container not removed from the guest";
            "container" => id, "error" => chain(error));
    }
    removed.is_ok()
}

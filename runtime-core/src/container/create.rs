//! Makes a container in the guest: plug its disk, let the agent mount it and build the container.

use std::{sync::Arc, time::Instant};

use agent_client::{Agent, agent::CreateContainerRequest};
use hypervisors::{DiskSpec, Vm};
use sha2::{Digest, Sha256};
use slog::{Logger, info, warn};

use super::{CreatePhases, Held, NewContainer};
use crate::{
    oci::{self, RootfsDisk},
    sandbox::Error,
};

/// Makes a container. On an error its disk is out of the VM again, or the log says that it is not.
pub(crate) async fn create(
    vm: Arc<dyn Vm>,
    agent: Agent,
    new: NewContainer,
    log: Logger,
) -> Result<(Held, CreatePhases), Error> {
    let started = Instant::now();
    let disk = DiskSpec {
        id: root_disk_id(&new.id),
        path: new.rootfs.path().to_owned(),
        read_only: new.rootfs.read_only(),
    };
    let pci_path = vm.add_disk(&disk).await.map_err(|source| Error::Vm {
        action: "Plugging the root disk",
        source,
    })?;
    let plugged = started.elapsed();

    if let Err(error) = make(&agent, &new, &pci_path.to_string(), &log).await {
        if let Err(left) = vm.remove_disk(&disk.id).await {
            warn!(log, "disk of a failed container stays plugged";
                "container" => &new.id, "disk" => &disk.id, "error" => %left);
        }
        return Err(error);
    }
    let phases = CreatePhases {
        disk: plugged,
        container: started.elapsed() - plugged,
    };
    Ok((
        Held {
            disk: disk.id,
            rootfs: new.rootfs,
        },
        phases,
    ))
}

/// The agent undoes what it made of a container that it could not make.
async fn make(
    agent: &Agent,
    new: &NewContainer,
    pci_path: &str,
    log: &Logger,
) -> Result<(), Error> {
    let root = oci::rootfs_storages(&new.id, &RootfsDisk::from(&new.rootfs), pci_path);
    let spec = oci::guest_spec(&new.bundle, &new.id, &new.kind, &root.path, new.options)?;
    if !spec.left_out().is_empty() {
        info!(log, "parts of the specification stay outside of the guest";
            "container" => &new.id, "parts" => spec.left_out().join(", "));
    }
    let request = CreateContainerRequest {
        container_id: new.id.clone(),
        exec_id: new.id.clone(),
        storages: root.storages,
        sandbox_pidns: spec.sandbox_pidns(),
        OCI: Some(spec.finish()?).into(),
        ..Default::default()
    };
    agent
        .create_container(request)
        .await
        .map_err(|source| Error::Agent {
            action: "Creating the container",
            source,
        })
}

/// Identifier of a container's root disk in its VM; container ids are longer than it may be.
#[must_use]
pub fn root_disk_id(container: &str) -> String {
    let digest = Sha256::digest(container.as_bytes());
    let hex: String = digest
        .iter()
        .take(10)
        .map(|byte| format!("{byte:02x}"))
        .collect();
    format!("root-{hex}")
}

#[cfg(test)]
mod tests {
    use super::root_disk_id;

    #[test]
    fn disk_ids_are_short_and_differ() {
        let (a, b) = (root_disk_id(&"a".repeat(76)), root_disk_id(&"b".repeat(76)));
        assert_ne!(a, b);
        assert_eq!(a.len(), 25);
    }
}

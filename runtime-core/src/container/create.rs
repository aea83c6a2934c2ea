//! Makes a container in the guest: plug its disk, bring its volumes, let the agent mount them and
//! build the container.

use std::{sync::Arc, time::Instant};

use agent_client::{Agent, agent::CreateContainerRequest, agent::Device, agent::Storage};
use hypervisors::{DiskSpec, Vm};
use sha2::{Digest, Sha256};
use slog::{Logger, info, warn};

use super::{CreatePhases, Held, NewContainer};
use crate::{
    oci::{self, GuestSpec, RootfsDisk},
    rootfs::Rootfs,
    sandbox::Error,
    volumes::{Provided, Volumes},
};

/// Makes a container. On an error its disks are out of the VM again, or the log says that they are
/// not.
pub(crate) async fn create(
    vm: Arc<dyn Vm>,
    agent: Agent,
    volumes: Arc<Volumes>,
    new: NewContainer,
    log: Logger,
) -> Result<(Held, CreatePhases), Error> {
    let started = Instant::now();
    let root = oci::rootfs_path(&new.id, &RootfsDisk::from(&new.rootfs));
    let mut spec = oci::guest_spec(&new.bundle, &new.id, &new.kind, &root, new.options)?;
    if !spec.left_out().is_empty() {
        info!(log, "parts of the specification stay outside of the guest";
            "container" => &new.id, "parts" => spec.left_out().join(", "));
    }
    let disk = root_disk(&new.id, &new.rootfs);
    // The guest takes its time to find a disk; files are copied meanwhile.
    let plug = async {
        let path = match &new.plugged {
            Some(place) => Ok(place.clone()),
            None => vm.add_disk(&disk).await.map_err(|source| Error::Vm {
                action: "Plugging the root disk",
                source,
            }),
        };
        (path, started.elapsed())
    };
    let ((pci_path, plugged), provided) = tokio::join!(plug, volumes.provide(&new.id, &mut spec));
    let (pci_path, provided) = match (pci_path, provided) {
        (Ok(pci_path), Ok(provided)) => (pci_path, provided),
        (Ok(_), Err(error)) => {
            unplug(&*vm, &new.id, &disk.id, &log).await;
            return Err(error.into());
        }
        (Err(error), provided) => {
            if let Ok(provided) = provided {
                provided.held.release(&*vm, &log).await;
            }
            return Err(error);
        }
    };
    let Provided {
        storages,
        devices,
        held: volumes,
    } = provided;
    let pci_path = pci_path.to_string();
    if let Err(error) = make(&agent, &new, spec, &pci_path, storages, devices).await {
        volumes.release(&*vm, &log).await;
        unplug(&*vm, &new.id, &disk.id, &log).await;
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
            volumes,
        },
        phases,
    ))
}

/// The agent undoes what it made of a container that it could not make.
async fn make(
    agent: &Agent,
    new: &NewContainer,
    spec: GuestSpec,
    pci_path: &str,
    volumes: Vec<Storage>,
    devices: Vec<Device>,
) -> Result<(), Error> {
    let root = oci::rootfs_storages(&new.id, &RootfsDisk::from(&new.rootfs), pci_path);
    let request = CreateContainerRequest {
        container_id: new.id.clone(),
        exec_id: new.id.clone(),
        storages: root.storages.into_iter().chain(volumes).collect(),
        devices,
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

async fn unplug(vm: &dyn Vm, container: &str, disk: &str, log: &Logger) {
    if let Err(left) = vm.remove_disk(disk).await {
        warn!(log, "disk of a failed container stays plugged";
            "container" => container, "disk" => disk, "error" => %left);
    }
}

/// A container's root disk.
#[must_use]
pub fn root_disk(container: &str, rootfs: &Rootfs) -> DiskSpec {
    DiskSpec {
        id: root_disk_id(container),
        path: rootfs.path().to_owned(),
        read_only: rootfs.read_only(),
    }
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

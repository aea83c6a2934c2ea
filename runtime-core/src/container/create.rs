//! Makes a container in the guest: plug its disk, bring its volumes, let the agent mount them and
//! build the container.

use std::{path::Path, sync::Arc, time::Instant};

use agent_client::{Agent, agent::CreateContainerRequest, agent::Device, agent::Storage};
use hypervisors::{DiskSpec, PciPath, Vm};
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
    let disks = root_disks(&new.id, &new.rootfs);
    // The guest takes its time to find a disk; files are copied meanwhile.
    let plug = async {
        let paths = plug_all(&*vm, &new, &disks, &log).await;
        (paths, started.elapsed())
    };
    let ((pci_paths, plugged), provided) = tokio::join!(plug, volumes.provide(&new.id, &mut spec));
    let (pci_paths, provided) = match (pci_paths, provided) {
        (Ok(pci_paths), Ok(provided)) => (pci_paths, provided),
        (Ok(_), Err(error)) => {
            unplug(&*vm, &new.id, &disks, &log).await;
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
    if let Err(error) = make(&agent, &new, spec, &pci_paths, storages, devices).await {
        volumes.release(&*vm, &log).await;
        unplug(&*vm, &new.id, &disks, &log).await;
        return Err(error);
    }
    let phases = CreatePhases {
        disk: plugged,
        container: started.elapsed() - plugged,
    };
    Ok((
        Held {
            disks: disks.into_iter().map(|disk| disk.id).collect(),
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
    pci_paths: &[String],
    volumes: Vec<Storage>,
    devices: Vec<Device>,
) -> Result<(), Error> {
    let root = oci::rootfs_storages(&new.id, &RootfsDisk::from(&new.rootfs), pci_paths);
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

/// Plugs all root disks, but for the first where it is plugged already, and tells where they are.
/// On an error none is left.
async fn plug_all(
    vm: &dyn Vm,
    new: &NewContainer,
    disks: &[DiskSpec],
    log: &Logger,
) -> Result<Vec<String>, Error> {
    let mut paths: Vec<String> = new.plugged.iter().map(PciPath::to_string).collect();
    while let Some(disk) = disks.get(paths.len()) {
        match vm.add_disk(disk).await {
            Ok(path) => paths.push(path.to_string()),
            Err(source) => {
                unplug(vm, &new.id, &disks[..paths.len()], log).await;
                return Err(Error::Vm {
                    action: "Plugging a root disk",
                    source,
                });
            }
        }
    }
    Ok(paths)
}

async fn unplug(vm: &dyn Vm, container: &str, disks: &[DiskSpec], log: &Logger) {
    for disk in disks {
        if let Err(left) = vm.remove_disk(&disk.id).await {
            warn!(log, "disk of a failed container stays plugged";
                "container" => container, "disk" => &disk.id, "error" => %left);
        }
    }
}

/// A container's root disks, the topmost layer first.
#[must_use]
pub fn root_disks(container: &str, rootfs: &Rootfs) -> Vec<DiskSpec> {
    let id = root_disk_id(container);
    let disk = |(index, path): (usize, &Path)| DiskSpec {
        id: match index {
            0 => id.clone(),
            layer => format!("{id}-{layer}"),
        },
        path: path.to_owned(),
        read_only: rootfs.read_only(),
    };
    rootfs.paths().into_iter().enumerate().map(disk).collect()
}

/// Identifier of a container's first root disk in its VM; container ids are longer than it may be.
fn root_disk_id(container: &str) -> String {
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

//! Creates a container in the guest: attaches its root disks, provides its volumes, and lets the
//! agent mount them and create the container.

use std::{path::Path, sync::Arc, time::Instant};

use agent_client::{
    Agent, PID_NAMESPACE_OF,
    agent::{CreateContainerRequest, Device, RemoveContainerRequest, Storage},
};
use hypervisors::{DiskSpec, Vm};
use oci::{GuestSpec, RootfsDisk};
use rootfs::Rootfs;
use sha2::{Digest, Sha256};
use slog::{Logger, debug, info};
use system::{encoding::hex, error::chain};
use volumes::{Provided, Volumes};

use super::{CreatePhases, Error, Held, NewContainer, RootDisks};

/// Creates a container.
///
/// # Errors
/// Its disks are removed from the VM again, or the log says that they are not.
pub(crate) async fn create(
    vm: Arc<dyn Vm>,
    agent: Agent,
    volumes: Arc<Volumes>,
    disks: Arc<RootDisks>,
    new: NewContainer,
    log: Logger,
) -> Result<(Held, CreatePhases), Error> {
    let started = Instant::now();
    let root = oci::rootfs_path(&new.id, &as_mounted(&new.rootfs));
    let mut spec = oci::guest_spec(&new.bundle, &new.id, &new.kind, &root, new.options)?;
    if !spec.left_out().is_empty() {
        info!(log, "parts of the specification left out";
            "container" => &new.id, "parts" => spec.left_out().join(", "));
    }
    if spec.annotation(PID_NAMESPACE_OF).is_some() && !agent.joins_pid_namespaces().await {
        return Err(Error::Unsupported(
            "A container that sees the processes of another (PID namespace TARGET)",
        ));
    }
    // A guest needs time to find a hot-plugged disk; files are copied meanwhile.
    let attach = async {
        let attached = disks.attach(&*vm, &new.id, &new.rootfs).await;
        let attached = attached.map_err(|source| Error::Vm {
            action: "Attaching a root disk",
            source,
        });
        (attached, started.elapsed())
    };
    let ((attached, took), provided) = tokio::join!(attach, volumes.provide(&new.id, &mut spec));
    let (attached, provided) = match (attached, provided) {
        (Ok(attached), Ok(provided)) => (attached, provided),
        (Ok(attached), Err(error)) => {
            disks.detach(&*vm, &new.id, &attached).await;
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
    if let Err(error) = make(&agent, &new, spec, &attached.pci_paths(), storages, devices).await {
        if matches!(error.of_agent(), Some(agent_client::Error::Timeout { .. })) {
            remove(&agent, &new.id, &log).await;
        }
        volumes.release(&*vm, &log).await;
        disks.withdraw(&*vm, &new.id, &attached).await;
        return Err(error);
    }
    let phases = CreatePhases {
        disk: took,
        container: started.elapsed() - took,
    };
    Ok((
        Held {
            disks: attached,
            rootfs: new.rootfs,
            volumes,
        },
        phases,
    ))
}

/// Asks the agent to create the container. The agent undoes everything if it fails.
async fn make(
    agent: &Agent,
    new: &NewContainer,
    spec: GuestSpec,
    pci_paths: &[String],
    volumes: Vec<Storage>,
    devices: Vec<Device>,
) -> Result<(), Error> {
    let root = oci::rootfs_storages(&new.id, &as_mounted(&new.rootfs), pci_paths);
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

/// Removes a container of which it is not known whether the guest created it.
async fn remove(agent: &Agent, id: &str, log: &Logger) {
    let request = RemoveContainerRequest {
        container_id: id.to_owned(),
        ..Default::default()
    };
    if let Err(error) = agent.remove_container(request).await {
        debug!(log, "container not removed"; "container" => id, "error" => chain(&error));
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

/// The type and options with which the guest mounts a container's root disks.
fn as_mounted(rootfs: &Rootfs) -> RootfsDisk {
    match rootfs {
        Rootfs::Erofs { .. } | Rootfs::Layers { .. } => RootfsDisk {
            fs_type: "erofs".to_owned(),
            options: Vec::new(),
            read_only: true,
        },
        Rootfs::Block {
            fs_type,
            read_only,
            options,
            ..
        } => RootfsDisk {
            fs_type: fs_type.clone(),
            options: options.clone(),
            read_only: *read_only,
        },
    }
}

/// Identifier of a container's first root disk in its VM. It is a digest, since container ids are
/// too long.
fn root_disk_id(container: &str) -> String {
    let digest = Sha256::digest(container.as_bytes());
    format!("root-{}", hex(&digest[..10]))
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

//! Creating a container: its storages, its mounts, its namespaces, and then the container itself.

use std::{
    collections::HashMap,
    fs,
    os::unix::fs::MetadataExt,
    path::{Path, PathBuf},
    sync::Arc,
};

use agent_client::{
    PID_NAMESPACE_OF,
    agent::{CreateContainerRequest, Device},
    oci::Spec,
};
use nix::sys::stat::{major, minor};

use super::{Agent, remove_directory};
use crate::{
    cgroup::{DeviceRules, Group, group_path},
    container::{Container, NewContainer},
    copy_file,
    error::{Doing, Error, Result},
    log, mounts,
    oci::{self, Adaptation},
    pid_namespace::{self, PidNamespace},
    sysctl, termination,
};

/// Longest identifier of a container, in bytes.
const MAX_ID: usize = 128;

impl Agent {
    /// Mounts what a container needs and creates it.
    ///
    /// # Errors
    ///
    /// When a step fails; the steps before it are undone.
    pub async fn create_container(&self, request: CreateContainerRequest) -> Result<()> {
        check_id(&request.container_id)?;
        let reservation = self.containers.reserve(&request.container_id, |_| false)?;
        let container = self.create_reserved(request).await?;
        reservation.fill(container);
        Ok(())
    }

    async fn create_reserved(&self, request: CreateContainerRequest) -> Result<Container> {
        let mount_points = self.storages.add(&request.storages).await?;
        let bundle = self.settings.root.join(&request.container_id);
        let created = self
            .create_mounted(request, mount_points.clone(), bundle.clone())
            .await;
        if created.is_err() {
            let unmounted = self.storages.remove(&mount_points).await;
            let removed = unmounted.and_then(|()| remove_directory(&bundle));
            log::cleanup_failure(&self.log, removed);
        }
        created
    }

    async fn create_mounted(
        &self,
        request: CreateContainerRequest,
        mount_points: Vec<PathBuf>,
        bundle: PathBuf,
    ) -> Result<Container> {
        let id = request.container_id;
        let no_spec = || Error::Invalid("the request has no OCI specification".into());
        let mut spec = request.OCI.into_option().ok_or_else(no_spec)?;
        let copies = self.settings.root.join(copy_file::DIRECTORY);
        let termination_message = termination::file(&spec, &copies);
        let mut staged = mounts::stage(&self.settings.root, &id, &mut spec)?;
        let linux = spec.Linux.get_or_default();
        if self.settings.init {
            sysctl::apply(Path::new(sysctl::ROOT), &linux.Sysctl)?;
        }
        let cgroup = group_path(&linux.CgroupsPath, &id)?;
        let pid_namespace = self.pid_namespace(&spec, request.sandbox_pidns).await?;
        let is_sandbox = pid_namespace::is_sandbox(&spec);
        let adaptation = Adaptation {
            guest_is_pod: self.settings.init,
            pid_namespace: pid_namespace.as_ref().map(|namespace| namespace.path()),
            cgroup: cgroup.clone(),
            block_devices: self.block_devices(&request.devices).await?,
        };
        let rules = &linux.Resources.get_or_default().Devices;
        let new = NewContainer {
            device_rules: DeviceRules::new(rules, &linux.Devices, &adaptation.block_devices)?,
            termination_message,
            uid_mappings: linux.UIDMappings.clone(),
            configuration: oci::configuration(&spec, &adaptation)?,
            process: spec.Process.unwrap_or_default(),
            cgroup: Group::new(cgroup),
            id,
            bundle,
            mount_points,
        };
        let created = Container::create(&self.zygote, &self.log, new).await;
        let container = created.map_err(|error| staged.explain(error))?;
        drop(staged);
        self.register(&container, is_sandbox).await;
        Ok(container)
    }

    /// Has the pod's other containers share the pid namespace of a sandbox container, and watches
    /// for out-of-memory kills.
    async fn register(&self, container: &Container, is_sandbox: bool) {
        if is_sandbox && let Ok(namespace) = container.pid_namespace(&self.reaper) {
            self.pid_namespace.set(namespace).await;
        }
        let watched = container
            .cgroup
            .watch_oom(container.id.clone(), self.oom_sender.clone());
        if let Err(error) = watched {
            slog::warn!(self.log, "out-of-memory events not watched";
                "id" => &container.id, "cause" => error.chain());
        }
    }

    /// The pid namespace that the container of `spec` joins; `None` for a new one. `shared` is
    /// whether the pod's containers share theirs.
    async fn pid_namespace(&self, spec: &Spec, shared: bool) -> Result<Option<Arc<PidNamespace>>> {
        if let Some(target) = spec.Annotations.get(PID_NAMESPACE_OF) {
            let namespace = self.container(target)?.pid_namespace(&self.reaper)?;
            return Ok(Some(Arc::new(namespace)));
        }
        if !shared || pid_namespace::is_sandbox(spec) {
            return Ok(None);
        }
        self.pid_namespace.get_or_make(&self.reaper).await.map(Some)
    }

    /// Waits until the block devices among `devices` are there. Returns their major and minor
    /// numbers by their paths in the container.
    async fn block_devices(&self, devices: &[Device]) -> Result<HashMap<String, (u64, u64)>> {
        let mut found = HashMap::new();
        for device in devices {
            if device.type_ != "blk" {
                let kind = format!("the device type {:?}", device.type_);
                return Err(Error::Unsupported(kind));
            }
            let source = match device.id.is_empty() {
                true => &device.vm_path,
                false => &device.id,
            };
            let node = self.storages.block_device(source).await?;
            let number = fs::metadata(&node).on("find", &node)?.rdev();
            let path = device.container_path.clone();
            found.insert(path, (major(number), minor(number)));
        }
        Ok(found)
    }
}

/// A container's identifier becomes the name of a directory.
fn check_id(id: &str) -> Result<()> {
    let allowed = |byte: u8| byte.is_ascii_alphanumeric() || b"_.-".contains(&byte);
    let first = id.bytes().next();
    let starts_well = first.is_some_and(|byte| byte.is_ascii_alphanumeric());
    if starts_well && id.len() <= MAX_ID && id.bytes().all(allowed) {
        Ok(())
    } else {
        Err(Error::Invalid(format!(
            "{id:?} cannot be the identifier of a container"
        )))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn container_names_stay_in_their_directory() {
        assert!(check_id("web-1_a.b").is_ok());
        for wrong in ["", ".", "..", "a/b", "-a", "a b", "ä", &"a".repeat(129)] {
            assert!(check_id(wrong).is_err(), "{wrong:?}");
        }
    }
}

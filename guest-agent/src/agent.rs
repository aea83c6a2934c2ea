//! The whole agent: one sandbox, its containers, and what they are made with.

use std::{
    collections::HashMap,
    fs, io,
    os::unix::fs::MetadataExt,
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use agent_client::{
    PID_NAMESPACE_OF,
    agent::{CreateContainerRequest, Device},
    oci::Spec,
};
use nix::sys::stat::{major, minor};
use slog::Logger;
use tokio::sync::mpsc;

use crate::{
    cgroup::{Group, Rules, group_path},
    container::{Container, Plan},
    copy_file,
    error::{Doing, Error, Result},
    log,
    making::Named,
    mounts,
    oci::{self, Adaptation},
    pid_namespace::{self, PidNamespace, PodProcesses},
    reaper::Reaper,
    storage::Storages,
    sysctl, termination,
    uevent::Uevents,
    zygote::Zygote,
};

/// Killings for want of memory that wait to be collected.
const OOM_EVENTS: usize = 64;

/// How this agent differs from another.
#[derive(Debug, Clone)]
pub struct Settings {
    /// Where containers live; `/run/kata-containers` in a guest.
    pub root: PathBuf,
    /// This is PID 1 of a guest that is the pod.
    pub init: bool,
    /// How long a device may take to appear.
    pub hotplug_timeout: Duration,
}

/// The agent.
pub struct Agent {
    pub settings: Settings,
    pub log: Logger,
    pub reaper: Arc<Reaper>,
    pub zygote: Zygote,
    pub storages: Storages,
    pub uevents: Uevents,
    oom: (
        mpsc::Sender<String>,
        tokio::sync::Mutex<mpsc::Receiver<String>>,
    ),
    containers: Named<Container>,
    processes: PodProcesses,
}

impl Agent {
    /// An agent without containers.
    ///
    /// # Errors
    ///
    /// When the system has no uevents or no SIGCHLD for it.
    pub fn new(settings: Settings, log: Logger) -> Result<Self> {
        let reaper = Reaper::start()?;
        let uevents = Uevents::listen()?;
        let (sender, receiver) = mpsc::channel(OOM_EVENTS);
        let state = settings.root.with_extension("state");
        Ok(Self {
            zygote: Zygote::new(state, Arc::clone(&reaper)),
            storages: Storages::new(
                settings.root.clone(),
                uevents.clone(),
                settings.hotplug_timeout,
                log.clone(),
            ),
            settings,
            log,
            reaper,
            uevents,
            oom: (sender, tokio::sync::Mutex::new(receiver)),
            containers: Named::new("container"),
            processes: PodProcesses::default(),
        })
    }

    /// The container called `id`.
    ///
    /// # Errors
    ///
    /// When there is none, or it is still being made.
    pub fn container(&self, id: &str) -> Result<Arc<Container>> {
        self.containers.find(id)
    }

    /// As [`Agent::container`]; waits for one that is being made.
    ///
    /// # Errors
    ///
    /// When there is none.
    pub async fn made_container(&self, id: &str) -> Result<Arc<Container>> {
        self.containers.made(id).await
    }

    /// Mounts what a container needs and creates it.
    ///
    /// # Errors
    ///
    /// When any of it fails; all of it is undone.
    pub async fn create_container(&self, request: CreateContainerRequest) -> Result<()> {
        valid_id(&request.container_id)?;
        let place = self.containers.begin(&request.container_id, |_| false)?;
        let container = self.create_reserved(request).await?;
        place.fill(container);
        Ok(())
    }

    async fn create_reserved(&self, request: CreateContainerRequest) -> Result<Container> {
        let mount_points = self.storages.add(&request.storages).await?;
        let bundle = self.settings.root.join(&request.container_id);
        match self
            .create_mounted(request, mount_points.clone(), bundle.clone())
            .await
        {
            Ok(container) => Ok(container),
            Err(error) => {
                let unmounted = self.storages.remove(&mount_points).await;
                let removed = unmounted.and_then(|()| remove_directory(&bundle));
                log::not_undone(&self.log, removed);
                Err(error)
            }
        }
    }

    async fn create_mounted(
        &self,
        request: CreateContainerRequest,
        mount_points: Vec<PathBuf>,
        bundle: PathBuf,
    ) -> Result<Container> {
        let id = request.container_id;
        let mut spec = request
            .OCI
            .into_option()
            .ok_or_else(|| Error::Invalid("the request has no OCI specification".into()))?;
        let copies = self.settings.root.join(copy_file::DIRECTORY);
        let termination = termination::file(&spec, &copies);
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
        let devices = Rules::new(rules, &linux.Devices, &adaptation.block_devices)?;
        let users = linux.UIDMappings.clone();
        let plan = Plan {
            devices,
            termination,
            users,
            configuration: oci::configuration(&spec, &adaptation)?,
            wanted: spec.Process.unwrap_or_default(),
            group: Group::new(cgroup),
            id: id.clone(),
            bundle,
            mount_points,
        };
        let created = Container::create(&self.zygote, &self.log, plan).await;
        let container = created.map_err(|error| staged.explain(error))?;
        drop(staged);
        if is_sandbox && let Ok(namespace) = container.pid_namespace(&self.reaper) {
            self.processes.are_in(namespace).await;
        }
        if let Err(error) = container.group.watch_oom(id, self.oom.0.clone()) {
            slog::warn!(self.log, "no news of memory shortage"; "cause" => error.chain());
        }
        Ok(container)
    }

    /// The pid namespace that the container of `spec` is to join; without one it gets its own.
    async fn pid_namespace(&self, spec: &Spec, shared: bool) -> Result<Option<Arc<PidNamespace>>> {
        if let Some(target) = spec.Annotations.get(PID_NAMESPACE_OF) {
            let namespace = self.container(target)?.pid_namespace(&self.reaper)?;
            return Ok(Some(Arc::new(namespace)));
        }
        if !shared || pid_namespace::is_sandbox(spec) {
            return Ok(None);
        }
        self.processes.namespace(&self.reaper).await.map(Some)
    }

    /// Waits for the block devices among `devices`; path in the container to device number.
    async fn block_devices(&self, devices: &[Device]) -> Result<HashMap<String, (u64, u64)>> {
        let mut found = HashMap::new();
        for device in devices {
            if device.type_ != "blk" {
                return Err(Error::Unsupported(format!(
                    "the device type {:?}",
                    device.type_
                )));
            }
            let source = if device.id.is_empty() {
                &device.vm_path
            } else {
                &device.id
            };
            let node = self.storages.block_device(source).await?;
            let number = fs::metadata(&node).on("find", &node)?.rdev();
            found.insert(
                device.container_path.clone(),
                (major(number), minor(number)),
            );
        }
        Ok(found)
    }

    /// Kills a container if it still runs, and removes all that was made for it.
    ///
    /// # Errors
    ///
    /// When it does not end within `patience`; it can then be removed again.
    pub async fn remove_container(&self, id: &str, patience: Option<Duration>) -> Result<()> {
        let container = self.made_container(id).await?;
        container
            .delete(&self.zygote, &self.reaper, patience)
            .await?;
        let same = |present: &Container| std::ptr::eq(present, &*container);
        let Some(_name_stays_taken) = self.containers.begin_removal(id, same) else {
            return Ok(());
        };
        let unmounted = self.storages.remove(&container.mount_points).await;
        // Never through what is still mounted there.
        unmounted.and_then(|()| remove_directory(&container.bundle))
    }

    /// Removes every container, and forgets the sandbox's pid namespace.
    pub async fn remove_all_containers(&self) {
        for id in self.containers.names() {
            if let Err(error) = self.remove_container(&id, None).await {
                slog::warn!(self.log, "container not removed"; "id" => id, "cause" => error.chain());
            }
        }
        self.processes.forget().await;
    }

    /// Waits for the next container that lost a process for want of memory.
    ///
    /// # Errors
    ///
    /// When the agent is ending.
    pub async fn next_oom(&self) -> Result<String> {
        let event = self.oom.1.lock().await.recv().await;
        event.ok_or_else(|| Error::State("the agent is ending".into()))
    }
}

/// A container's name becomes a directory's.
fn valid_id(id: &str) -> Result<()> {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"_.-".contains(&byte);
    let starts_well = id
        .bytes()
        .next()
        .is_some_and(|byte| byte.is_ascii_alphanumeric());
    if starts_well && id.len() <= 128 && id.bytes().all(plain) {
        Ok(())
    } else {
        Err(Error::Invalid(format!(
            "{id:?} cannot be a container's name"
        )))
    }
}

fn remove_directory(directory: &Path) -> Result<()> {
    match fs::remove_dir_all(directory) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        other => other.on("remove", directory),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn container_names_stay_in_their_directory() {
        assert!(valid_id("web-1_a.b").is_ok());
        for wrong in ["", ".", "..", "a/b", "-a", "a b", "ä", &"a".repeat(129)] {
            assert!(valid_id(wrong).is_err(), "{wrong:?}");
        }
    }
}

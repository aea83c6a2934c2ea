//! The whole agent: one sandbox, its containers, and what they are made with.

use std::{
    collections::{BTreeMap, HashMap},
    fs, io,
    path::{Path, PathBuf},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use agent_client::agent::{CreateContainerRequest, Device};
use nix::sys::stat::{major, minor};
use slog::Logger;
use std::os::unix::fs::MetadataExt;
use tokio::sync::mpsc;

use crate::{
    cgroup::{Group, group_path},
    container::{Container, Plan},
    copy_file,
    error::{Doing, Error, Result},
    mounts,
    oci::{self, Adaptation},
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
    containers: Mutex<Containers>,
}

/// `None` while a container is being made: its name is taken already.
#[derive(Default)]
struct Containers {
    by_id: BTreeMap<String, Option<Arc<Container>>>,
    /// The process whose pid namespace is the sandbox's: the first container's.
    pid_namespace_of: Option<i32>,
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
            ),
            settings,
            log,
            reaper,
            uevents,
            oom: (sender, tokio::sync::Mutex::new(receiver)),
            containers: Mutex::default(),
        })
    }

    /// The container called `id`.
    ///
    /// # Errors
    ///
    /// When there is none, or it is still being made.
    pub fn container(&self, id: &str) -> Result<Arc<Container>> {
        self.containers()
            .by_id
            .get(id)
            .cloned()
            .flatten()
            .ok_or_else(|| Error::no_container(id))
    }

    /// Mounts what a container needs and creates it.
    ///
    /// # Errors
    ///
    /// When any of it fails; all of it is undone.
    pub async fn create_container(&self, request: CreateContainerRequest) -> Result<()> {
        let id = request.container_id.clone();
        self.reserve(&id)?;
        let created = self.create_reserved(request).await;
        let mut containers = self.containers();
        match created {
            Ok(container) => {
                let pid = container.find("").map_or(0, |first| first.pid());
                containers.pid_namespace_of.get_or_insert(pid);
                containers.by_id.insert(id, Some(Arc::new(container)));
                Ok(())
            }
            Err(error) => {
                containers.by_id.remove(&id);
                Err(error)
            }
        }
    }

    fn reserve(&self, id: &str) -> Result<()> {
        valid_id(id)?;
        let mut containers = self.containers();
        if containers.by_id.contains_key(id) {
            return Err(Error::Exists {
                kind: "container",
                id: id.to_owned(),
            });
        }
        containers.by_id.insert(id.to_owned(), None);
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
                self.storages.remove(&mount_points).await.ok();
                remove_directory(&bundle).ok();
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
        let adaptation = Adaptation {
            guest_is_pod: self.settings.init,
            pid_namespace: self.pid_namespace(request.sandbox_pidns),
            cgroup: cgroup.clone(),
            block_devices: self.block_devices(&request.devices).await?,
        };
        let plan = Plan {
            termination,
            configuration: oci::configuration(&spec, &adaptation)?,
            wanted: spec.Process.unwrap_or_default(),
            group: Group::new(cgroup),
            id: id.clone(),
            bundle,
            mount_points,
        };
        let created = Container::create(&self.zygote, plan).await;
        let container = created.map_err(|error| staged.failed_mount().unwrap_or(error))?;
        drop(staged);
        if let Err(error) = container.group.watch_oom(id, self.oom.0.clone()) {
            slog::warn!(self.log, "no news of memory shortage"; "cause" => error.chain());
        }
        Ok(container)
    }

    /// The pid namespace that containers share, once the first one has made it.
    fn pid_namespace(&self, shared: bool) -> Option<String> {
        let first = self.containers().pid_namespace_of.filter(|_| shared)?;
        Some(format!("/proc/{first}/ns/pid"))
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
        let container = self.container(id)?;
        container
            .delete(&self.zygote, &self.reaper, patience)
            .await?;
        if self.containers().by_id.remove(id).is_none() {
            return Ok(());
        }
        let unmounted = self.storages.remove(&container.mount_points).await;
        unmounted.and(remove_directory(&container.bundle))
    }

    /// Removes every container, and forgets the sandbox's pid namespace.
    pub async fn remove_all_containers(&self) {
        let ids: Vec<String> = self.containers().by_id.keys().cloned().collect();
        for id in ids {
            if let Err(error) = self.remove_container(&id, None).await {
                slog::warn!(self.log, "container not removed"; "id" => id, "cause" => error.chain());
            }
        }
        self.containers().pid_namespace_of = None;
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

    fn containers(&self) -> MutexGuard<'_, Containers> {
        self.containers
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
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

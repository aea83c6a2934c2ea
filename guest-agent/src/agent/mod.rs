//! The whole agent: one sandbox, its containers, and what they are made with.

mod create;

use std::{
    fs, io,
    path::{Path, PathBuf},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use slog::Logger;
use tokio::sync::{Mutex, mpsc};

use crate::{
    container::Container,
    error::{Doing, Error, Result},
    pid_namespace::SharedPidNamespace,
    reaper::Reaper,
    registry::Registry,
    shared_root,
    storage::Storages,
    uevent::Uevents,
    zygote::Zygote,
};

/// Out-of-memory kills that are queued until the host asks for them.
const OOM_EVENTS: usize = 64;

/// What differs between agents.
#[derive(Debug, Clone)]
pub struct Settings {
    /// The agent's directory, with one directory for each container. `/run/kata-containers` in a
    /// guest.
    pub root: PathBuf,
    /// Whether this is PID 1 of a guest. The guest's own namespaces are then the pod's.
    pub init: bool,
    /// How long a device may take to appear.
    pub hotplug_timeout: Duration,
}

/// Everything that the calls of the service work on.
pub struct Agent {
    pub settings: Settings,
    pub log: Logger,
    pub reaper: Arc<Reaper>,
    pub zygote: Zygote,
    pub storages: Storages,
    pub uevents: Uevents,
    /// Identifiers of the containers that lost a process for lack of memory.
    oom_events: Mutex<mpsc::Receiver<String>>,
    oom_sender: mpsc::Sender<String>,
    containers: Registry<Container>,
    pid_namespace: SharedPidNamespace,
    /// Whether the agent's directory was made and no sandbox has used it yet.
    root_is_new: AtomicBool,
}

impl Agent {
    /// An agent without containers.
    ///
    /// # Errors
    ///
    /// When the agent cannot listen to uevents or SIGCHLD.
    pub fn new(settings: Settings, log: Logger) -> Result<Self> {
        let reaper = Reaper::start()?;
        let uevents = Uevents::listen()?;
        let (oom_sender, oom_events) = mpsc::channel(OOM_EVENTS);
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
            oom_events: Mutex::new(oom_events),
            oom_sender,
            containers: Registry::new("container"),
            pid_namespace: SharedPidNamespace::default(),
            root_is_new: AtomicBool::new(false),
        })
    }

    /// Makes the agent's directory for the first sandbox, before a template is saved.
    ///
    /// # Errors
    ///
    /// When the kernel refuses.
    pub fn prepare_root(&self) -> Result<()> {
        shared_root::begin(&self.settings.root)?;
        self.root_is_new.store(true, Ordering::Release);
        Ok(())
    }

    /// Makes the agent's directory an empty one for a sandbox, unless [`Agent::prepare_root`] has
    /// made it and nothing was put into it since.
    ///
    /// # Errors
    ///
    /// When the kernel refuses.
    pub fn begin_root(&self) -> Result<()> {
        let root = &self.settings.root;
        let is_new = self.root_is_new.swap(false, Ordering::AcqRel);
        if is_new && fs::read_dir(root).is_ok_and(|mut entries| entries.next().is_none()) {
            return Ok(());
        }
        shared_root::begin(root)
    }

    /// The container `id`.
    ///
    /// # Errors
    ///
    /// When there is none, or it is still being created.
    pub fn container(&self, id: &str) -> Result<Arc<Container>> {
        self.containers.find(id)
    }

    /// Like [`Agent::container`], but waits for a container that is being created.
    ///
    /// # Errors
    ///
    /// When there is none.
    pub async fn created_container(&self, id: &str) -> Result<Arc<Container>> {
        self.containers.wait_for(id).await
    }

    /// Kills a container if it still runs, and removes everything that was made for it. The killed
    /// processes may take as long as `timeout`, or the agent's own limit.
    ///
    /// # Errors
    ///
    /// When the container does not end in time; removing it can then be tried again.
    pub async fn remove_container(&self, id: &str, timeout: Option<Duration>) -> Result<()> {
        let container = self.created_container(id).await?;
        container
            .delete(&self.zygote, &self.reaper, timeout)
            .await?;
        let same = |present: &Container| std::ptr::eq(present, &*container);
        let Some(_name_stays_taken) = self.containers.begin_removal(id, same) else {
            return Ok(());
        };
        let unmounted = self.storages.remove(&container.mount_points).await;
        // Not when something is still mounted below it: its content would be removed, too.
        unmounted.and_then(|()| remove_directory(&container.bundle))
    }

    /// Removes every container, and ends the pod's shared pid namespace.
    pub async fn remove_all_containers(&self) {
        for id in self.containers.names() {
            if let Err(error) = self.remove_container(&id, None).await {
                let cause = error.chain();
                slog::warn!(self.log, "container not removed"; "id" => id, "cause" => cause);
            }
        }
        self.pid_namespace.clear().await;
    }

    /// Waits for the next out-of-memory kill, and returns the container's identifier.
    ///
    /// # Errors
    ///
    /// When the agent is ending.
    pub async fn next_oom_event(&self) -> Result<String> {
        let event = self.oom_events.lock().await.recv().await;
        event.ok_or_else(|| Error::State("The agent is ending".into()))
    }
}

fn remove_directory(directory: &Path) -> Result<()> {
    match fs::remove_dir_all(directory) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        other => other.on("remove", directory),
    }
}

//! The pod a shim serves: its sandbox, and what it keeps on disk.

#[cfg(test)]
mod tests;

use std::{
    path::{Path, PathBuf},
    sync::{Arc, OnceLock},
    time::SystemTime,
};

use config::Config;
use factory::start::StartReport;
use hypervisors::DiskSpec;
use oci::{Bundle, ContainerKind, SpecOptions};
use oci_spec::runtime::Spec;
use pod::{
    container::{CreatePhases, NewContainer, root_disks},
    io::Stdio,
    process::{Exit, STATUS_KILLED, STATUS_LOST, TaskId},
    sandbox::{self, Sandbox},
    state::{ContainerRecord, DiskRecord, SandboxDir, SandboxState},
};
use resources::cgroup::PodCgroups;
use rootfs::{MOST_LAYERS, Mount, Rootfs, RootfsCache, RootfsError};
use slog::{Logger, warn};
use system::error::chain;
use tokio::{
    sync::{Mutex, watch},
    task::{JoinHandle, spawn_blocking},
};

use crate::{
    bundle,
    error::Error,
    management::Management,
    network::{self, KeptNetwork},
    pids::Pids,
    pod_files::PodFiles,
};

/// What a Create request asks for, read and checked.
#[derive(Debug)]
pub struct NewTask {
    /// Id of the container.
    pub id: String,
    /// What it is to its VM.
    pub kind: ContainerKind,
    /// Its bundle.
    pub bundle: Bundle,
    /// What its root file system is to be made from.
    pub mounts: Vec<Mount>,
    /// Its streams.
    pub stdio: Stdio,
    /// The configuration its options name.
    pub config: Option<PathBuf>,
}

/// What a pod has that was made by the sandbox API.
pub struct ApiSandbox {
    files: PodFiles,
    over: watch::Receiver<Option<Exit>>,
}

impl ApiSandbox {
    /// Watches over the sandbox's end. It ends when it is told to, or with its VM.
    pub fn of(files: PodFiles, sandbox: &Sandbox) -> Self {
        let (told, over) = watch::channel(None);
        let sandbox = sandbox.clone();
        tokio::spawn(async move {
            sandbox.ended().await;
            told.send_replace(Some(Exit::now(STATUS_KILLED)));
        });
        Self { files, over }
    }
}

/// A sandbox that runs.
pub struct Pod {
    /// Where the sandbox API made it. Then it has no main container.
    pub(crate) api: Option<ApiSandbox>,
    /// When it was ready for containers.
    pub(crate) created: SystemTime,
    /// How it was started.
    pub(crate) start_report: OnceLock<StartReport>,
    /// Its containers and processes.
    pub sandbox: Sandbox,
    /// What stands for them on this node.
    pub pids: Arc<Pids>,
    pub(crate) cache: RootfsCache,
    pub(crate) options: SpecOptions,
    /// The container with which it ends; for one made by the sandbox API its own id.
    pub(crate) main: String,
    /// Its directory; `None` when it has been removed.
    pub(crate) dir: Mutex<Option<SandboxDir>>,
    /// Its cgroups; this process is in them.
    pub(crate) cgroups: Option<Arc<PodCgroups>>,
    /// Sends its events; ends when the sandbox's task has.
    pub(crate) events: Mutex<Option<JoinHandle<()>>>,
    /// Its management socket.
    pub(crate) management: OnceLock<Management>,
    /// What is left of its network's making.
    pub(crate) network: Mutex<KeptNetwork>,
    pub(crate) log: Logger,
}

impl Pod {
    /// Starts a process; with the main container what a client has put into the pod's network
    /// namespace since its creation becomes its network.
    ///
    /// # Errors
    /// As [`Sandbox::start`], or the guest has no network.
    pub async fn start(&self, id: TaskId) -> Result<(), Error> {
        if id.exec.is_none() && id.container == self.main {
            self.connect().await?;
        }
        Ok(self.sandbox.start(id).await?)
    }

    /// Makes its network of what a client has put into its network namespace since its creation,
    /// unless that was made by others before.
    ///
    /// # Errors
    /// The guest has no network, and the VM is gone.
    pub async fn connect(&self) -> Result<(), Error> {
        if let Some(network) = self.network.lock().await.take_late()
            && let Err(error) = network.plug(&self.log).await
        {
            // Started again it would run without its network.
            self.sandbox.stop().await;
            return Err(error.into());
        }
        Ok(())
    }

    /// Whether the sandbox API made it.
    pub fn is_sandbox(&self) -> bool {
        self.api.is_some()
    }

    /// How the sandbox ended, if it has.
    pub fn exit(&self) -> Option<Exit> {
        self.api.as_ref().and_then(|api| *api.over.borrow())
    }

    /// Waits for the sandbox's end.
    pub async fn exited(&self) -> Exit {
        let over = self.api.as_ref().map(|api| api.over.clone());
        let exit = match over {
            Some(mut over) => over.wait_for(Option::is_some).await.ok().and_then(|e| *e),
            None => None,
        };
        exit.unwrap_or_else(|| Exit::now(STATUS_LOST))
    }

    /// Adds a container.
    ///
    /// # Errors
    /// Nothing of it is left. [`Error::ContainerGivenUp`] if it was deleted while its root file system was
    /// made: containerd deletes what it has waited for in vain, once.
    pub async fn add(&self, mut new: NewTask) -> Result<(), Error> {
        let id = new.id.clone();
        if let Some(api) = &self.api {
            api.files.complete(&mut new.bundle.spec);
        }
        self.join_processes(&mut new.bundle.spec)?;
        self.note(&id, &new.bundle).await?;
        if let Err(error) = self.begin_pid(&id).await {
            self.strike(&id).await;
            return Err(error);
        }
        let added = async {
            let room = self.room_for_layers().await;
            let rootfs = rootfs::prepare(
                &new.mounts,
                &new.bundle.rootfs(),
                &self.cache,
                room,
                &self.log,
            )
            .await;
            let rootfs = rootfs.map_err(|error| self.not_prepared(error))?;
            self.note_disks(&new.id, disk_records(&new.id, &rootfs))
                .await?;
            self.make(new, rootfs).await
        };
        match added.await {
            Ok(_) => Ok(()),
            Err(error) => {
                self.pids.end(&id);
                self.strike(&id).await;
                Err(error)
            }
        }
    }

    /// Makes a container whose root file system is prepared.
    ///
    /// # Errors
    /// Nothing of it is left in the VM.
    pub(crate) async fn make(&self, new: NewTask, rootfs: Rootfs) -> Result<CreatePhases, Error> {
        let container = NewContainer {
            id: new.id,
            kind: new.kind,
            bundle: new.bundle,
            rootfs,
            mounts: new.mounts,
            stdio: new.stdio,
            options: self.options,
        };
        Ok(self.sandbox.create(container).await?)
    }

    /// Has a container see the processes that its specification names.
    fn join_processes(&self, spec: &mut Spec) -> Result<(), Error> {
        let container_of = |pid| self.pids.container(pid);
        Ok(oci::join_processes(spec, &self.main, container_of)?)
    }

    async fn begin_pid(&self, container: &str) -> Result<(), Error> {
        let begun = self.pids.begin(container).await;
        begun.map_err(|source| Error::Pid {
            container: container.to_owned(),
            source,
        })
    }

    /// If the OOM killer ended what packs an image, that is no end of the VM. What else it has ended is
    /// left to be told.
    fn not_prepared(&self, error: RootfsError) -> Error {
        let cgroups = self.cgroups.as_deref();
        let is_kill = error.is_kill();
        let error = Error::from(error).in_memory_of(cgroups);
        if let Some(cgroups) = cgroups.filter(|_| is_kill) {
            cgroups.forget_kill();
        }
        error
    }

    /// Deletes a process; with the main container everything that is left of the pod.
    ///
    /// # Errors
    /// It has not ended, or does not exist.
    pub async fn delete(&self, id: TaskId) -> Result<Exit, Error> {
        let container = id.exec.is_none().then(|| id.container.clone());
        let exit = match self.sandbox.delete(id.clone()).await {
            // It may have been made just before it was given up.
            Err(sandbox::Error::NotFound(_)) if self.give_up(&id).await => {
                self.sandbox.delete(id).await?
            }
            told => told?,
        };
        match container {
            Some(container) if container == self.main => self.remove_directory().await,
            Some(container) => self.strike(&container).await,
            None => {}
        }
        Ok(exit)
    }

    /// Ends the pod, whatever runs in it, and returns when its VM and its directory are gone.
    pub async fn end(&self) {
        self.sandbox.stop().await;
        self.remove_directory().await;
    }

    async fn note(&self, id: &str, container: &Bundle) -> Result<(), Error> {
        let mut dir = self.dir.lock().await;
        let Some(dir) = dir.as_mut() else {
            return Err(Error::NoSandbox(self.main.clone()));
        };
        if dir.state().containers.contains_key(id) {
            let id = TaskId::new(id, "");
            return Err(sandbox::Error::AlreadyExists(id).into());
        }
        bundle::note_sandbox(&container.path, dir.path())?;
        let record = record_of(container);
        dir.record(|state| drop(state.containers.insert(id.to_owned(), record)))?;
        Ok(())
    }

    /// Names a container's disks before the VM has them.
    async fn note_disks(&self, id: &str, disks: Vec<DiskRecord>) -> Result<(), Error> {
        let mut dir = self.dir.lock().await;
        let known = |dir: &&mut SandboxDir| dir.state().containers.contains_key(id);
        let Some(dir) = dir.as_mut().filter(known) else {
            return Err(Error::ContainerGivenUp(id.to_owned()));
        };
        dir.record(|state| note(state, id, disks))?;
        Ok(())
    }

    /// Nobody wants a container any more whose root file system is being made. Tells whether there is one.
    async fn give_up(&self, id: &TaskId) -> bool {
        let container = &id.container;
        let is_known = match &*self.dir.lock().await {
            Some(dir) => dir.state().containers.contains_key(container),
            None => false,
        };
        let given_up = id.exec.is_none() && *container != self.main && is_known;
        if given_up {
            self.strike(container).await;
        }
        given_up
    }

    /// How many disks the layers of one more container may be: a VM has few places, and those that
    /// its containers take beyond one each are bounded for the pod.
    async fn room_for_layers(&self) -> usize {
        let dir = self.dir.lock().await;
        let containers = dir.iter().flat_map(|dir| dir.state().containers.values());
        let beyond: usize = containers
            .map(|container| container.disks.len().saturating_sub(1))
            .sum();
        MOST_LAYERS.saturating_sub(beyond)
    }

    async fn strike(&self, id: &str) {
        if let Some(dir) = self.dir.lock().await.as_mut()
            && let Err(error) = dir.record(|state| drop(state.containers.remove(id)))
        {
            warn!(self.log, "record of a gone container stays"; "container" => id, "error" => %error);
        }
    }

    async fn remove_directory(&self) {
        let Some(dir) = self.dir.lock().await.take() else {
            return;
        };
        *self.network.lock().await = KeptNetwork::Nothing;
        network::give_back(dir.state(), &self.log).await;
        if !leave_cgroups(self.cgroups.clone(), &self.log).await {
            return;
        }
        if let Err(error) = dir.remove() {
            warn!(self.log, "sandbox's directory stays"; "error" => %error);
        }
    }
}

/// Goes back out of the pod's cgroups and removes them. Tells whether nothing is left; a directory
/// that names what is left is kept for whoever comes after.
pub async fn leave_cgroups(cgroups: Option<Arc<PodCgroups>>, log: &Logger) -> bool {
    let Some(cgroups) = cgroups else {
        return true;
    };
    let Ok(problems) = spawn_blocking(move || cgroups.leave()).await else {
        return false;
    };
    for problem in &problems {
        warn!(log, "pod's cgroup stays"; "error" => chain(problem));
    }
    problems.is_empty()
}

/// A container of which nothing was made yet.
pub fn record_of(bundle: &Bundle) -> ContainerRecord {
    ContainerRecord {
        bundle: bundle.path.clone(),
        disks: Vec::new(),
    }
}

/// Adds disks to the record of their container.
pub fn note(state: &mut SandboxState, container: &str, disks: Vec<DiskRecord>) {
    if let Some(container) = state.containers.get_mut(container) {
        container.disks.extend(disks);
    }
}

/// The records of a container's root disks.
pub fn disk_records(container: &str, rootfs: &Rootfs) -> Vec<DiskRecord> {
    let record = |disk: DiskSpec| DiskRecord {
        id: disk.id,
        path: disk.path,
        pci_path: None,
    };
    root_disks(container, rootfs)
        .into_iter()
        .map(record)
        .collect()
}

/// Options of every container of a sandbox: what the node's configuration says, and what the
/// sandbox was opened with.
pub fn spec_options(config: &Config) -> SpecOptions {
    SpecOptions {
        guest_seccomp: !config.runtime.disable_guest_seccomp,
    }
}

/// The pod as several tasks hold it.
pub type SharedPod = Arc<Pod>;

impl NewTask {
    /// Reads the bundle and the names of a Create request.
    ///
    /// # Errors
    /// What about them cannot be used.
    pub fn read(
        id: String,
        path: &Path,
        mounts: Vec<Mount>,
        stdio: Stdio,
        config: Option<PathBuf>,
    ) -> Result<Self, Error> {
        oci::validate_id(&id).map_err(oci::OciError::from)?;
        let mut bundle = oci::load_bundle(path)?;
        let kind = ContainerKind::from_spec(&bundle.spec)?;
        if !matches!(kind, ContainerKind::PodContainer { .. }) {
            oci::join_no_processes(&mut bundle.spec)?;
        }
        Ok(Self {
            id,
            kind,
            bundle,
            mounts,
            stdio,
            config,
        })
    }
}

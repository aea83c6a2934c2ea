//! The containers of a pod: what the pod's directory says of them, and how each is prepared before
//! the guest makes it.

use std::{
    path::PathBuf,
    sync::Arc,
    time::{Duration, Instant},
};

use factory::start::Image;
use hypervisors::{DiskSlots, DiskSpec};
use oci::{Bundle, ContainerKind};
use pod::{
    container::{first_image, root_disks},
    process::TaskId,
    sandbox,
    state::{ContainerRecord, DiskRecord, SandboxDir, SandboxState},
};
use resources::cgroup::PodCgroups;
use rootfs::{MOST_LAYERS, Rootfs, RootfsCache, RootfsError};
use slog::{Logger, warn};
use system::error::chain;
use tokio::{
    sync::{Mutex, oneshot},
    task::spawn_blocking,
};

use crate::{
    bundle, error::Error, network, pids::Pids, request::ContainerRequest, shared_files::SharedFiles,
};

/// What there is of a pod on disk, and what its containers have in common.
pub(crate) struct Containers {
    /// The pod's id, and that of the container with which it ends.
    pub(crate) main: String,
    /// The pod's directory; `None` when it has been removed.
    pub(crate) dir: Mutex<Option<SandboxDir>>,
    /// The pod's cgroups, once they are made; this process is in them.
    pub(crate) cgroups: Option<Arc<PodCgroups>>,
    /// What no first container has brought.
    pub(crate) shared: Option<SharedFiles>,
    pub(crate) cache: RootfsCache,
    pub(crate) pids: Arc<Pids>,
    pub(crate) log: Logger,
}

/// A container whose root file system is there, and which the guest does not know yet.
pub(crate) struct Prepared {
    pub(crate) request: ContainerRequest,
    pub(crate) rootfs: Rootfs,
    /// When the preparation of the root file system began.
    pub(crate) began: Instant,
    /// How long it took.
    pub(crate) took: Duration,
}

/// The disk slots of a VM that is being started, and who waits for what goes into the first.
pub(crate) struct FirstSlot {
    pub(crate) slots: DiskSlots,
    pub(crate) image: oneshot::Sender<Image>,
}

impl Containers {
    /// Gives a container its place in the pod: its record, its number on this node, and what it has
    /// from the pod.
    ///
    /// # Errors
    /// Nothing of it is recorded.
    pub(crate) async fn admit(&self, request: &mut ContainerRequest) -> Result<(), Error> {
        let (id, bundle) = (&request.id, &mut request.bundle);
        if let Some(shared) = &self.shared {
            shared.complete(&mut bundle.spec);
        }
        if matches!(request.kind, ContainerKind::PodContainer { .. }) {
            let container_of = |pid| self.pids.container(pid);
            oci::join_processes(&mut bundle.spec, &self.main, container_of)?;
        }
        self.record(id, bundle).await?;
        let begun = self.pids.begin(id).await;
        if let Err(source) = begun {
            self.strike(id).await;
            let container = id.clone();
            return Err(Error::Pid { container, source });
        }
        Ok(())
    }

    /// Prepares the root file system of a container that was admitted. If it can be in a disk slot
    /// from the VM's start, it is announced to that as soon as there is one.
    ///
    /// # Errors
    /// The container is still recorded. [`Error::ContainerCancelled`] if it is not, since it was
    /// deleted meanwhile: containerd deletes what it has stopped to wait for, once.
    pub(crate) async fn prepare(
        &self,
        request: ContainerRequest,
        first: Option<FirstSlot>,
    ) -> Result<Prepared, Error> {
        let began = Instant::now();
        let room = self.room_for_layers().await;
        let (mounts, own) = (&request.mounts, request.bundle.rootfs());
        let rootfs = rootfs::prepare(mounts, &own, &self.cache, room, &self.log).await;
        let rootfs = rootfs.map_err(|error| self.not_prepared(error))?;
        self.record_disks(&request.id, disk_records(&request.id, &rootfs))
            .await?;
        if let Some(FirstSlot { slots, image }) = first
            && let Some((path, bytes)) = first_image(&slots, &rootfs)
        {
            let path = path.to_owned();
            // The VM may be there already: then it gets its disk later.
            let _ = image.send(Image { path, bytes });
        }
        Ok(Prepared {
            request,
            rootfs,
            began,
            took: began.elapsed(),
        })
    }

    /// Takes back what [`admit`](Self::admit) has given a container that was not made.
    pub(crate) async fn dismiss(&self, id: &str) {
        self.pids.end(id);
        self.strike(id).await;
    }

    /// Cancels a container whose root file system is being prepared. Says whether there is one.
    pub(crate) async fn cancel(&self, id: &TaskId) -> bool {
        let container = &id.container;
        let is_known = match &*self.dir.lock().await {
            Some(dir) => dir.state().containers.contains_key(container),
            None => false,
        };
        let cancelled = id.exec.is_none() && *container != self.main && is_known;
        if cancelled {
            self.strike(container).await;
        }
        cancelled
    }

    /// Removes the record of a container of which nothing is left.
    pub(crate) async fn strike(&self, id: &str) {
        if let Some(dir) = self.dir.lock().await.as_mut()
            && let Err(error) = dir.record(|state| drop(state.containers.remove(id)))
        {
            warn!(self.log, "record of a container not removed";
                "container" => id, "error" => chain(&error));
        }
    }

    /// Undoes what the directory names, but the VM: the network's filters, the cgroups, the
    /// directory itself. A directory that names what is left stays for whoever comes after.
    pub(crate) async fn remove(&self) {
        let Some(dir) = self.dir.lock().await.take() else {
            return;
        };
        network::give_back(dir.state(), &self.log).await;
        if !self.leave_cgroups().await {
            return;
        }
        if let Err(error) = dir.remove() {
            warn!(self.log, "sandbox's directory not removed"; "error" => chain(&error));
        }
    }

    /// Changes the pod's record, as by [`SandboxDir::record`].
    ///
    /// # Errors
    /// The old record stands.
    pub(crate) async fn note(
        &self,
        change: impl FnOnce(&mut SandboxState) + Send,
    ) -> Result<(), Error> {
        let mut dir = self.dir.lock().await;
        let dir = dir.as_mut().ok_or_else(|| Error::Gone(self.main.clone()))?;
        Ok(dir.record(change)?)
    }

    /// Records a container of which nothing is made yet.
    pub(crate) async fn record(&self, id: &str, container: &Bundle) -> Result<(), Error> {
        let mut dir = self.dir.lock().await;
        let Some(dir) = dir.as_mut() else {
            return Err(Error::Gone(self.main.clone()));
        };
        if dir.state().containers.contains_key(id) {
            let id = TaskId::new(id, "");
            return Err(sandbox::Error::AlreadyExists(id).into());
        }
        bundle::note_sandbox(&container.path, dir.path())?;
        let record = record_of(container.path.clone());
        dir.record(|state| drop(state.containers.insert(id.to_owned(), record)))?;
        Ok(())
    }

    /// Names a container's disks before the VM has them.
    pub(crate) async fn record_disks(&self, id: &str, disks: Vec<DiskRecord>) -> Result<(), Error> {
        let mut dir = self.dir.lock().await;
        let known = |dir: &&mut SandboxDir| dir.state().containers.contains_key(id);
        let Some(dir) = dir.as_mut().filter(known) else {
            return Err(Error::ContainerCancelled(id.to_owned()));
        };
        dir.record(|state| {
            if let Some(container) = state.containers.get_mut(id) {
                container.disks.extend(disks);
            }
        })?;
        Ok(())
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

    /// If the OOM killer ended what packs an image, that is no end of the VM. What else it has
    /// ended is reported by the next error.
    fn not_prepared(&self, error: RootfsError) -> Error {
        let cgroups = self.cgroups.as_deref();
        let is_kill = error.is_kill();
        let error = Error::from(error).in_memory_of(cgroups);
        if let Some(cgroups) = cgroups.filter(|_| is_kill) {
            cgroups.forget_kill();
        }
        error
    }

    /// Goes back out of the pod's cgroups and removes them. Says whether nothing is left.
    async fn leave_cgroups(&self) -> bool {
        let Some(cgroups) = self.cgroups.clone() else {
            return true;
        };
        let Ok(problems) = spawn_blocking(move || cgroups.leave()).await else {
            return false;
        };
        for problem in &problems {
            warn!(self.log, "pod's cgroup not removed"; "error" => chain(problem));
        }
        problems.is_empty()
    }
}

/// The record of a container of which nothing is made yet.
pub(crate) fn record_of(bundle: PathBuf) -> ContainerRecord {
    ContainerRecord {
        bundle,
        disks: Vec::new(),
    }
}

/// The records of a container's root disks.
fn disk_records(container: &str, rootfs: &Rootfs) -> Vec<DiskRecord> {
    let record = |disk: DiskSpec| DiskRecord {
        id: disk.id,
        path: disk.path,
    };
    let disks = root_disks(container, rootfs);
    disks.into_iter().map(record).collect()
}

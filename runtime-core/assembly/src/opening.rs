//! A pod that is being opened: what there is of it before it has a sandbox.

use std::{
    path::PathBuf,
    pin::pin,
    sync::{Arc, atomic::Ordering},
    time::Instant,
};

use ::network::NetworkError;
use config::Config;
use factory::start::{FirstDisk, FirstImage, StartStep, Started, Timeline};
use pod::{
    container::{Counts, RootDisks},
    sandbox::{Event, NewSandbox, Sandbox},
    state::SandboxDir,
};
use resources::{
    PodResources, RunningSize,
    cgroup::{CgroupPath, PodCgroups},
};
use rootfs::{Rootfs, RootfsCache};
use tokio::sync::{Mutex, mpsc};

use crate::{
    bundle,
    containers::{Containers, FirstSlot, Prepared, record_of},
    error::Error,
    host::Host,
    launch::{Launch, LaunchError, Wanted},
    network::{PodNetwork, Waiting},
    request::{ContainerRequest, PodRequest},
};

/// What a pod is made of, before its sandbox is opened.
pub(crate) struct Machine {
    pub(crate) vm: Started,
    /// The container that comes with the pod, if one does.
    pub(crate) first: Option<Prepared>,
    pub(crate) network: Waiting,
}

/// A pod that is being opened.
pub(crate) struct Opening {
    request: PodRequest,
    pub(crate) config: Config,
    /// The pod's directory, and where in it the VMM's sockets go.
    pub(crate) directory: PathBuf,
    run_dir: PathBuf,
    pub(crate) network: PodNetwork,
    pub(crate) containers: Containers,
    pub(crate) timeline: Timeline,
}

impl Opening {
    /// Reads the configuration and makes the sandbox's directory.
    pub(crate) fn begin(request: PodRequest, host: &Host<'_>) -> Result<Self, Error> {
        let mut timeline = Timeline::begin();
        let began = Instant::now();
        let config =
            Config::load(request.config.as_deref(), host.log).map_err(LaunchError::from)?;
        let config = config.with_annotations(&request.annotations)?;
        let runtime = &config.runtime;
        if runtime.debug {
            host.debug.store(true, Ordering::Relaxed);
        }
        let cache = RootfsCache::open(&runtime.rootfs_cache_dir, runtime.rootfs_cache_mib << 20)?;
        let network = PodNetwork::open(&request.network, runtime.network)?;
        bundle::note_sandbox(
            &request.bundle,
            &SandboxDir::path_for(&runtime.run_root, &request.id)?,
        )?;
        let dir = SandboxDir::create(&runtime.run_root, &request.id, &request.bundle)?;
        timeline.ended(StartStep::Config, began);
        Ok(Self {
            config,
            directory: dir.path().to_owned(),
            run_dir: dir.vmm_dir(),
            network,
            containers: Containers {
                main: request.id.clone(),
                dir: Mutex::new(Some(dir)),
                cgroups: None,
                shared: None,
                cache,
                pids: host.pids.clone(),
                log: host.log.clone(),
            },
            timeline,
            request,
        })
    }

    /// The VM, the network, and the root file system of the first container, made beside each other
    /// in the pod's cgroups.
    pub(crate) async fn machine(
        &mut self,
        first: Option<ContainerRequest>,
        launch: &dyn Launch,
    ) -> Result<Machine, Error> {
        if let Some(content) = self.request.shared.take() {
            let written = content.write(&self.directory);
            let shared = written.map_err(|(path, source)| Error::SharedFiles { path, source })?;
            self.containers.shared = Some(shared);
        }
        self.record().await?;
        self.confine().await?;
        let machine = self.beside_each_other(first, launch).await?;
        if let Some(first) = &machine.first {
            self.timeline
                .took(StartStep::Rootfs, first.began, first.took);
            if let Rootfs::Erofs {
                packed: Some(packed),
                ..
            } = &first.rootfs
            {
                self.timeline
                    .took(StartStep::RootfsPack, first.began, *packed);
            }
        }
        Ok(machine)
    }

    /// Names what is about to be made. The pod's own id is among its containers from the beginning,
    /// also where no container comes with it: none may take it.
    async fn record(&mut self) -> Result<(), Error> {
        let vmm = self.config.hypervisor.vmm.binary().to_owned();
        let network = self.network.record();
        let (id, container) = (&self.request.id, record_of(self.request.bundle.clone()));
        let change = self.containers.note(|state| {
            state.vmm_binary = Some(vmm);
            state.network = network;
            state.containers.insert(id.clone(), container);
        });
        change.await
    }

    /// Makes the pod's cgroups and enters them: all that is started from here on is in them.
    async fn confine(&mut self) -> Result<(), Error> {
        let began = Instant::now();
        let PodRequest {
            id, cgroup, alone, ..
        } = &self.request;
        let path = CgroupPath::parse(cgroup.as_deref(), id, *alone)?;
        let only = self.config.runtime.sandbox_cgroup_only;
        let cgroups = PodCgroups::plan(&path, id, only, &self.containers.log)?;
        let directories = cgroups.directories();
        let change = self.containers.note(|state| state.cgroups = directories);
        change.await?;
        cgroups.enter()?;
        self.containers.cgroups = Some(Arc::new(cgroups));
        self.timeline.ended(StartStep::Cgroup, began);
        Ok(())
    }

    async fn beside_each_other(
        &mut self,
        first: Option<ContainerRequest>,
        launch: &dyn Launch,
    ) -> Result<Machine, Error> {
        let nic = self.network.nic().await?;
        let netns = self.network.vmm_path();
        let (image, first_image) = FirstImage::coming();
        let wanted = Wanted {
            id: &self.request.id,
            demand: self.request.demand,
            run_dir: &self.run_dir,
            netns: &netns,
            nic: nic.as_ref(),
            first_image,
        };
        let containers = &self.containers;
        let launched = launch.launch(&self.config, wanted, &mut self.timeline, &containers.log);
        let slot = FirstSlot {
            slots: self.config.disk_slots(),
            image,
        };
        let rootfs = async move {
            match first {
                Some(first) => containers.prepare(first, Some(slot)).await.map(Some),
                None => Ok(None),
            }
        };
        let network = self.network.find(&containers.log);
        let (vm, first, network) = all_or_none(launched, rootfs, network).await?;
        Ok(Machine { vm, first, network })
    }

    /// Opens the sandbox in its VM, and answers where its disks are counted.
    pub(crate) async fn sandbox(
        &mut self,
        vm: &Started,
        events: mpsc::Sender<Event>,
    ) -> Result<(Sandbox, Arc<Counts>), Error> {
        let process = vm.vm.process();
        let change = self
            .containers
            .note(|state| state.vmm = Some(process.into()));
        change.await?;
        self.containers.pids.begin_vmm(process.pid);
        let (request, log) = (&self.request, &self.containers.log);
        let size = RunningSize::new(
            vm.vm.clone(),
            vm.agent.clone(),
            self.config.sizing(),
            vm.size,
            log.clone(),
        );
        let in_slot = vm.report.first_disk == FirstDisk::InSlot;
        let first = in_slot.then_some(request.id.as_str());
        let disks = RootDisks::new(&vm.slots, first, log.clone());
        let counts = disks.counts();
        let cgroups = self.containers.cgroups.clone();
        let sandbox = Sandbox::open(NewSandbox {
            id: request.id.clone(),
            pod_uid: request.uid.clone(),
            hostname: request.hostname.clone(),
            volumes: self.config.runtime.volumes.clone(),
            disks,
            storages: vec![oci::sandbox_shm_storage()],
            resources: PodResources::new(size, request.demand, cgroups, log.clone()),
            vm: vm.vm.clone(),
            agent: vm.agent.clone(),
            events,
            log: log.clone(),
        });
        Ok((sandbox.await?, counts))
    }

    /// Undoes all that there is but the VM, and says if the pod ran out of memory.
    pub(crate) async fn undone(self, error: Error) -> Error {
        let error = error.in_memory_of(self.containers.cgroups.as_deref());
        self.containers.remove().await;
        error
    }
}

/// What the three yield. The first that fails ends the others: a VM that is being started, or an
/// image that is being packed, is not waited for. Only the network's work goes on to its end, which
/// is soon, so that what it did can be undone.
///
/// A start that is dropped leaves nothing. Its VMM's process goes with the value that holds it, be
/// it a VM or one in the making (`hypervisors`): it is sent SIGKILL at once, and its sockets are
/// removed. The lease of a template and the place among the node's starts go with the future.
/// [`Opening::undone`] then waits for the end of what is in the pod's cgroups, the VMM among it,
/// before it removes the run directory.
async fn all_or_none<R>(
    vm: impl Future<Output = Result<Started, LaunchError>>,
    rootfs: impl Future<Output = Result<R, Error>>,
    network: impl Future<Output = Result<Waiting, NetworkError>>,
) -> Result<(Started, R, Waiting), Error> {
    let vm = async { Ok::<_, Error>(vm.await?) };
    // The root first: an image that is ready when the VM is specified is in a slot from the start.
    let mut made = pin!(async { tokio::try_join!(rootfs, vm) });
    let mut network = pin!(network);
    let ((rootfs, vm), network) = tokio::select! {
        biased;
        made = &mut made => {
            let attached = network.await;
            (made?, attached?)
        }
        attached = &mut network => {
            let attached = attached?;
            (made.await?, attached)
        }
    };
    Ok((vm, rootfs, network))
}

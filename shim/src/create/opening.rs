//! A pod that is being opened: what there is of it before it has a sandbox.

use std::{
    collections::BTreeMap,
    net::IpAddr,
    pin::pin,
    sync::{Arc, OnceLock},
    time::{Duration, Instant, SystemTime},
};

use ::network::NetworkError;
use config::Config;
use factory::start::{FirstDisk, FirstImage, Image, StartStep, Started, Timeline};
use hypervisors::DiskSlots;
use oci::ContainerKind;
use pod::{
    container::{self, Counts, RootDisks},
    sandbox::{Event, NewSandbox, Sandbox},
    state::SandboxDir,
};
use resources::{
    Demand, PodResources, RunningSize,
    cgroup::{CgroupPath, PodCgroups},
};
use rootfs::{MOST_LAYERS, Rootfs, RootfsCache};
use slog::{Logger, warn};
use tokio::{
    sync::{Mutex, mpsc, oneshot},
    task::JoinHandle,
};

use crate::{
    bundle,
    error::Error,
    launch::{Launch, LaunchError, Wanted},
    logging,
    network::{self, PodNetwork, Waiting},
    pids::Pids,
    pod::{ApiSandbox, NewTask, Pod, disk_records, leave_cgroups, note, record_of, spec_options},
    pod_files::{Content, PodFiles},
};

/// What a pod is made of, before its sandbox is opened.
pub(super) struct Machine {
    pub(super) vm: Started,
    /// That of the first container, if there is to be one.
    pub(super) rootfs: Option<Rootfs>,
    pub(super) network: Waiting,
}

/// A pod that is being opened.
pub(super) struct Opening {
    config: Config,
    cache: RootfsCache,
    dir: SandboxDir,
    network: PodNetwork,
    timeline: Timeline,
    /// Where its disks go, once it has a sandbox.
    disks: Arc<Counts>,
    /// What its containers share, where no first container brings it.
    files: Option<PodFiles>,
    /// Once they are made.
    cgroups: Option<Arc<PodCgroups>>,
    log: Logger,
}

impl Opening {
    /// Reads the configuration and makes the sandbox's directory.
    pub(super) fn begin(new: &NewTask, log: &Logger) -> Result<Self, Error> {
        let mut timeline = Timeline::begin();
        let began = Instant::now();
        let config = Config::load(new.config.as_deref(), log).map_err(LaunchError::from)?;
        let config = config.with_annotations(&annotations(new))?;
        let runtime = &config.runtime;
        if runtime.debug {
            logging::debug();
        }
        let cache = RootfsCache::open(&runtime.rootfs_cache_dir, runtime.rootfs_cache_mib << 20)?;
        let network = PodNetwork::of(&new.bundle.spec, &config)?;
        bundle::note_sandbox(
            &new.bundle.path,
            &SandboxDir::path_for(&runtime.run_root, &new.id)?,
        )?;
        let dir = SandboxDir::create(&runtime.run_root, &new.id, &new.bundle.path)?;
        timeline.ended(StartStep::Config, began);
        Ok(Self {
            config,
            cache,
            dir,
            network,
            timeline,
            disks: Arc::default(),
            files: None,
            cgroups: None,
            log: log.clone(),
        })
    }

    pub(super) fn log(&self) -> &Logger {
        &self.log
    }

    pub(super) fn timeline(&mut self) -> &mut Timeline {
        &mut self.timeline
    }

    pub(super) fn cgroups(&self) -> Option<&PodCgroups> {
        self.cgroups.as_deref()
    }

    /// Makes ready what the containers of a pod without a first one share.
    pub(super) fn share(&mut self, content: Option<Content>) -> Result<(), Error> {
        if let Some(content) = content {
            let files = content.write(self.dir.path());
            let files = files.map_err(|(path, source)| Error::PodFiles { path, source })?;
            self.files = Some(files);
        }
        Ok(())
    }

    /// Makes the pod's cgroups and enters them: all that is started from here on is in them.
    fn confine(&mut self, new: &NewTask) -> Result<(), Error> {
        let began = Instant::now();
        let linux = new.bundle.spec.linux().as_ref();
        let path = linux.and_then(|linux| linux.cgroups_path().as_deref());
        let alone = new.kind == ContainerKind::SingleContainer;
        let path = CgroupPath::parse(path, &new.id, alone)?;
        let only = self.config.runtime.sandbox_cgroup_only;
        let cgroups = PodCgroups::plan(&path, &new.id, only, &self.log)?;
        self.dir
            .record(|state| state.cgroups = cgroups.directories())?;
        cgroups.enter()?;
        self.cgroups = Some(Arc::new(cgroups));
        self.timeline.ended(StartStep::Cgroup, began);
        Ok(())
    }

    /// The VM, the root file system and the network, made beside each other.
    pub(super) async fn machine(
        &mut self,
        new: &NewTask,
        launch: &dyn Launch,
    ) -> Result<Machine, Error> {
        let vmm = self.config.hypervisor.vmm.binary().to_owned();
        self.dir.record(|state| {
            state.vmm_binary = Some(vmm);
            state.network = self.network.record();
            let record = record_of(&new.bundle);
            state.containers.insert(new.id.clone(), record);
        })?;
        self.confine(new)?;
        let (machine, rootfs) = self.beside_each_other(new, launch).await?;
        if let Some(Prepared {
            began,
            took,
            packed,
        }) = rootfs
        {
            self.timeline.took(StartStep::Rootfs, began, took);
            if let Some(packed) = packed {
                self.timeline.took(StartStep::RootfsPack, began, packed);
            }
        }
        Ok(machine)
    }

    async fn beside_each_other(
        &mut self,
        new: &NewTask,
        launch: &dyn Launch,
    ) -> Result<(Machine, Option<Prepared>), Error> {
        let run_dir = self.dir.vmm_dir();
        let nic = self.network.nic().await?;
        let netns = self.network.monitor_path();
        let (prepared, first_image) = FirstImage::coming();
        let wanted = Wanted {
            id: &new.id,
            demand: demand(new),
            run_dir: &run_dir,
            netns: &netns,
            nic: nic.as_ref(),
            first_image,
        };
        let launched = launch.launch(&self.config, wanted, &mut self.timeline, &self.log);
        let root = self.files.is_none().then(|| Root {
            new,
            slots: self.config.disk_slots(),
            cache: &self.cache,
        });
        let rootfs = async {
            match root {
                Some(root) => {
                    let rootfs = root.prepare(&mut self.dir, prepared, &self.log);
                    rootfs.await.map(Some)
                }
                None => Ok(None),
            }
        };
        let network = self.network.attach(&self.log);
        let (vm, rootfs, network) = all_or_none(launched, rootfs, network).await?;
        let (rootfs, prepared) = rootfs.unzip();
        let machine = Machine {
            vm,
            rootfs,
            network,
        };
        Ok((machine, prepared))
    }

    /// Opens the sandbox in its VM.
    pub(super) async fn sandbox(
        &mut self,
        new: &NewTask,
        vm: &Started,
        events: mpsc::Sender<Event>,
    ) -> Result<Sandbox, Error> {
        let process = vm.vm.process();
        self.dir.record(|state| state.vmm = Some(process.into()))?;
        let size = RunningSize::new(
            vm.vm.clone(),
            vm.agent.clone(),
            self.config.sizing(),
            vm.size,
            self.log.clone(),
        );
        let in_slot = vm.report.first_disk == FirstDisk::InSlot;
        let first = in_slot.then_some(new.id.as_str());
        let disks = RootDisks::new(&vm.slots, first, self.log.clone());
        self.disks = disks.counts();
        let cgroups = self.cgroups.clone();
        let sandbox = NewSandbox {
            id: new.id.clone(),
            pod_uid: oci::pod_uid(&new.bundle.spec),
            main: new.id.clone(),
            hostname: hostname(new),
            dns: Vec::new(),
            volumes: self.config.runtime.volumes.clone(),
            disks,
            storages: vec![oci::sandbox_shm_storage()],
            resources: PodResources::new(size, demand(new), cgroups, self.log.clone()),
            vm: vm.vm.clone(),
            agent: vm.agent.clone(),
            events,
            log: self.log.clone(),
        };
        Ok(Sandbox::open(sandbox).await?)
    }

    /// The pod with its sandbox, and what is known of its start.
    pub(super) fn pod(
        self,
        sandbox: Sandbox,
        pids: Arc<Pids>,
        publishing: JoinHandle<()>,
        vm: &Started,
        addresses: Vec<IpAddr>,
    ) -> (Pod, Arc<Counts>, Timeline) {
        let pod = Pod {
            api: self.files.map(|files| ApiSandbox::of(files, &sandbox)),
            created: SystemTime::now(),
            start_report: OnceLock::new(),
            main: vm.report.sandbox.clone(),
            sandbox,
            pids,
            options: spec_options(&self.config),
            cache: self.cache,
            dir: Mutex::new(Some(self.dir)),
            cgroups: self.cgroups,
            events: Mutex::new(Some(publishing)),
            management: OnceLock::new(),
            network: Mutex::new(self.network.keep(vm, addresses, &self.log)),
            log: self.log,
        };
        (pod, self.disks, self.timeline)
    }

    /// Gives the interfaces back and removes the directory, all that there is but the VM.
    pub(super) async fn undo(self) {
        network::give_back(self.dir.state(), &self.log).await;
        if !leave_cgroups(self.cgroups, &self.log).await {
            return;
        }
        if let Err(error) = self.dir.remove() {
            warn!(self.log, "sandbox's directory stays"; "error" => %error);
        }
    }
}

/// What the three yield. The first that fails ends the others: a VM that is being started, or an image
/// that is being packed, is not waited for. Only the network's work goes on to its end, which is soon,
/// so that what it did can be undone.
///
/// A start that is dropped leaves nothing. Its VMM's process goes with the value that holds it, be it a
/// VM or one in the making (`hypervisors`): it is sent SIGKILL, and its sockets are removed, at once.
/// The lease of a template and the place among the node's starts go with the future.
/// [`Opening::undo`] then waits for the end of what is in the pod's cgroups, the VMM among it, before
/// it removes the run directory.
async fn all_or_none<R>(
    vm: impl Future<Output = Result<Started, LaunchError>>,
    rootfs: impl Future<Output = Result<R, Error>>,
    network: impl Future<Output = Result<Waiting, NetworkError>>,
) -> Result<(Started, R, Waiting), Error> {
    let vm = async { Ok::<_, Error>(vm.await?) };
    let mut made = pin!(async { tokio::try_join!(vm, rootfs) });
    let mut network = pin!(network);
    let ((vm, rootfs), network) = tokio::select! {
        attached = &mut network => {
            let attached = attached?;
            (made.await?, attached)
        }
        made = &mut made => {
            let attached = network.await;
            (made?, attached?)
        }
    };
    Ok((vm, rootfs, network))
}

/// The first container's root file system, before it is prepared.
struct Root<'a> {
    new: &'a NewTask,
    /// The slots that its VM will have.
    slots: DiskSlots,
    cache: &'a RootfsCache,
}

/// What it took to prepare a root file system.
struct Prepared {
    began: Instant,
    took: Duration,
    /// Of this, making an image; `None` when it was in the cache.
    packed: Option<Duration>,
}

impl Root<'_> {
    /// Prepares it, and tells the VM's start of its image as soon as there is one.
    async fn prepare(
        self,
        dir: &mut SandboxDir,
        tell: oneshot::Sender<Image>,
        log: &Logger,
    ) -> Result<(Rootfs, Prepared), Error> {
        let began = Instant::now();
        let (id, mounts, own) = (&self.new.id, &self.new.mounts, self.new.bundle.rootfs());
        let rootfs = rootfs::prepare(mounts, &own, self.cache, MOST_LAYERS, log).await?;
        // Named before any VM has them.
        let disks = disk_records(id, &rootfs);
        dir.record(|state| note(state, id, disks))?;
        if let Some((path, bytes)) = container::first_image(&self.slots, &rootfs) {
            let path = path.to_owned();
            // The VM may be there already: then it gets its disk later.
            let _ = tell.send(Image { path, bytes });
        }
        let packed = match &rootfs {
            Rootfs::Erofs { packed, .. } => *packed,
            _ => None,
        };
        let took = began.elapsed();
        Ok((
            rootfs,
            Prepared {
                began,
                took,
                packed,
            },
        ))
    }
}

fn annotations(new: &NewTask) -> BTreeMap<String, String> {
    let given = new.bundle.spec.annotations().iter().flatten();
    given
        .map(|(name, value)| (name.clone(), value.clone()))
        .collect()
}

/// What the sandbox was announced to need: by kubelet for a pod, by its own limits for a container.
fn demand(new: &NewTask) -> Demand {
    let spec = &new.bundle.spec;
    let announced = spec.annotations().as_ref().map(Demand::of_annotations);
    let linux = spec.linux().as_ref();
    let limits = linux.and_then(|linux| linux.resources().as_ref());
    let own = limits.map(Demand::of_limits);
    announced.unwrap_or_default().or(own.unwrap_or_default())
}

/// A guest has no hostname of its host's that a container without one could share.
fn hostname(new: &NewTask) -> String {
    let given = new.bundle.spec.hostname().as_deref().unwrap_or_default();
    if given.is_empty() {
        new.id.clone()
    } else {
        given.to_owned()
    }
}

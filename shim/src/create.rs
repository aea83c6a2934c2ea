//! Starts a pod: its VM, its sandbox, its first container.
//!
//! ```text
//!   config --> directory --+--> vm -------+--> sandbox --> disk, container --+--> report
//!                          +--> rootfs ---+                                  |
//!                          +--> network --+--> NICs, addresses, routes ------+
//! ```
//!
//! On an error everything made so far is undone, last first.

use std::{
    collections::BTreeMap,
    sync::{Arc, OnceLock},
    time::{Instant, SystemTime},
};

use config::Config;
use oci::ContainerKind;
use pod::{
    container::{self, Counts, CreatePhases, NewContainer, RootDisks},
    sandbox::{EVENTS, Event, NewSandbox, Sandbox},
    state::SandboxDir,
};
use resources::{
    Demand, PodResources, VmSize,
    cgroup::{CgroupPath, PodCgroups},
};
use rootfs::{MOST_LAYERS, Rootfs, RootfsCache};
use slog::{Logger, warn};
use tokio::sync::{Mutex, mpsc};

use crate::{
    bundle,
    error::Error,
    guest_log,
    launch::{Launch, LaunchError, Vm, Wanted},
    logging,
    network::{self, PodNetwork, Waiting},
    pids::Pids,
    pod::{ApiSandbox, NewTask, Pod, disk_records, leave_cgroups, note, record_of, spec_options},
    pod_files::{Content, PodFiles},
    publisher::{self, Destination},
    report::report,
    timeline::Timeline,
};

/// A pod to start.
#[derive(Debug)]
pub struct NewPod {
    /// Its first container, or what stands for it.
    task: NewTask,
    /// What its containers share, where there is no first container to bring it.
    content: Option<Content>,
}

impl NewPod {
    /// A pod that comes with its first container, and ends with it.
    pub fn of_container(task: NewTask) -> Self {
        Self {
            task,
            content: None,
        }
    }

    /// A pod without a container; `task` describes the sandbox and is never made.
    pub fn of_sandbox(task: NewTask, content: Content) -> Self {
        Self {
            task,
            content: Some(content),
        }
    }

    /// Its id.
    pub fn id(&self) -> &str {
        &self.task.id
    }
}

/// Starts a pod.
///
/// # Errors
/// Nothing of the pod is left, or the log says what is.
pub async fn pod(
    new: NewPod,
    launch: &dyn Launch,
    namespace: &str,
    log: &Logger,
) -> Result<Pod, Error> {
    let NewPod { task: new, content } = new;
    let mut making = Making::begin(&new, log)?;
    let shared = making.share(content);
    let machine = match shared {
        Ok(()) => making.machine(&new, launch).await,
        Err(error) => Err(error),
    };
    match machine {
        Ok(machine) => making.populate(new, machine, namespace).await,
        Err(error) => {
            let error = error.in_memory_of(making.cgroups.as_deref());
            making.undo().await;
            Err(error)
        }
    }
}

/// What a pod is made of, before its sandbox is opened.
struct Machine {
    vm: Vm,
    /// That of the first container, if there is to be one.
    rootfs: Option<Rootfs>,
    network: Waiting,
}

/// A pod in the making.
struct Making {
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

impl Making {
    /// Reads the configuration and makes the sandbox's directory.
    fn begin(new: &NewTask, log: &Logger) -> Result<Self, Error> {
        let mut timeline = Timeline::begin();
        let start = Instant::now();
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
        timeline.ended("config", start);
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

    /// Makes ready what the containers of a pod without a first one share.
    fn share(&mut self, content: Option<Content>) -> Result<(), Error> {
        if let Some(content) = content {
            let files = content.write(self.dir.path());
            let files = files.map_err(|(path, source)| Error::PodFiles { path, source })?;
            self.files = Some(files);
        }
        Ok(())
    }

    /// Makes the pod's cgroups and enters them: all that is started from here on is in them.
    fn confine(&mut self, new: &NewTask) -> Result<(), Error> {
        let start = Instant::now();
        let linux = new.bundle.spec.linux().as_ref();
        let path = linux.and_then(|linux| linux.cgroups_path().as_deref());
        let alone = new.kind == ContainerKind::SingleContainer;
        let path = CgroupPath::of(path, &new.id, alone)?;
        let only = self.config.runtime.sandbox_cgroup_only;
        let cgroups = PodCgroups::plan(&path, &new.id, only, &self.log)?;
        self.dir
            .record(|state| state.cgroups = cgroups.directories())?;
        cgroups.enter()?;
        self.cgroups = Some(Arc::new(cgroups));
        self.timeline.ended("cgroup", start);
        Ok(())
    }

    /// The VM, the root file system and the network, made beside each other.
    async fn machine(&mut self, new: &NewTask, launch: &dyn Launch) -> Result<Machine, Error> {
        let monitor = self.config.hypervisor.vmm.binary().to_owned();
        self.dir.record(|state| {
            state.monitor_binary = Some(monitor);
            state.network = self.network.record();
            state
                .containers
                .insert(new.id.clone(), record_of(&new.bundle));
        })?;
        self.confine(new)?;
        let run_dir = self.dir.monitor_dir();
        let slots = self.config.disk_slots();
        let image = OnceLock::new();
        let prepare = async {
            let start = Instant::now();
            if self.files.is_some() {
                return Ok((None, start, start.elapsed()));
            }
            let (mounts, own) = (&new.mounts, new.bundle.rootfs());
            let rootfs = rootfs::prepare(mounts, &own, &self.cache, MOST_LAYERS, &self.log).await?;
            // Named before any VM has them.
            let disks = disk_records(&new.id, &rootfs);
            self.dir.record(|state| note(state, &new.id, disks))?;
            if let Some(fitting) = container::fitting(&slots, &rootfs) {
                // Nobody else sets it.
                let _ = image.set(fitting.to_owned());
            }
            Ok::<_, Error>((Some(rootfs), start, start.elapsed()))
        };
        let timeline = &mut self.timeline;
        let nic = self.network.nic().await?;
        let netns = self.network.monitor_path();
        let wanted = Wanted {
            id: &new.id,
            demand: demand(new),
            run_dir: &run_dir,
            netns: &netns,
            nic: nic.as_ref(),
            image: &image,
        };
        let launched = launch.launch(&self.config, wanted, timeline, &self.log);
        let attach = self.network.attach(&self.log);
        let (launched, prepared, network) = tokio::join!(launched, prepare, attach);
        let vm = launched?;
        let others = prepared.and_then(|prepared| Ok((prepared, network?)));
        match others {
            Ok(((rootfs, start, took), network)) => {
                self.timeline.took("rootfs", start, took);
                if let Some(Rootfs::Erofs {
                    packed: Some(packed),
                    ..
                }) = &rootfs
                {
                    self.timeline.took("rootfs.pack", start, *packed);
                }
                Ok(Machine {
                    vm,
                    rootfs,
                    network,
                })
            }
            Err(error) => {
                kill(&vm, &self.log).await;
                Err(error)
            }
        }
    }

    /// Opens the sandbox and makes its first container.
    async fn populate(
        mut self,
        new: NewTask,
        machine: Machine,
        namespace: &str,
    ) -> Result<Pod, Error> {
        let Machine {
            vm,
            rootfs,
            network,
        } = machine;
        let (events, queue) = mpsc::channel(EVENTS);
        let addresses = network.addresses();
        let plugging = network.plug(&vm, &mut self.timeline);
        let start = Instant::now();
        let sandbox = match self.open(&new, &vm, events).await {
            Ok(sandbox) => sandbox,
            Err(error) => {
                let error = error.in_memory_of(self.cgroups.as_deref());
                kill(&vm, &self.log).await;
                self.undo().await;
                return Err(error);
            }
        };
        self.timeline.ended("sandbox", start);
        if let Some(socket) = vm.vm.log_socket() {
            guest_log::follow(socket.to_owned(), &self.log);
        }
        let pids = Arc::new(Pids::of_pod(sandbox.pid(), &new.id, &self.log));
        let destination = Destination {
            namespace: namespace.to_owned(),
            pids: pids.clone(),
        };
        let publishing = publisher::publish(destination, queue, self.log.clone());
        let pod = Pod {
            api: self.files.map(|files| ApiSandbox::of(files, &sandbox)),
            created: SystemTime::now(),
            start_report: OnceLock::new(),
            sandbox,
            pids,
            options: spec_options(&self.config),
            cache: self.cache,
            main: new.id.clone(),
            dir: Mutex::new(Some(self.dir)),
            cgroups: self.cgroups,
            events: Mutex::new(Some(publishing)),
            management: OnceLock::new(),
            network: Mutex::new(self.network.keep(&vm, addresses, &self.log)),
            log: self.log,
        };
        let mut plugging = Some(plugging);
        let filled = async {
            // What is set for interfaces holds for those that are there, as after a CNI plugin.
            if oci::sets_interfaces(&new.bundle.spec)
                && let Some(plugging) = plugging.take()
            {
                plugging.done(&mut self.timeline).await?;
            }
            if let Some(rootfs) = rootfs {
                fill(&pod, new, rootfs, &mut self.timeline).await?;
            }
            match plugging {
                Some(plugging) => Ok(plugging.done(&mut self.timeline).await?),
                None => Ok(()),
            }
        };
        match filled.await {
            Ok(()) => {
                report(&pod, &vm, self.disks, &self.timeline).await;
                Ok(pod)
            }
            Err(error) => {
                pod.end().await;
                Err(error)
            }
        }
    }

    async fn open(
        &mut self,
        new: &NewTask,
        vm: &Vm,
        events: mpsc::Sender<Event>,
    ) -> Result<Sandbox, Error> {
        let process = vm.vm.process();
        self.dir
            .record(|state| state.monitor = Some(process.into()))?;
        let size = VmSize::new(
            vm.vm.clone(),
            vm.agent.clone(),
            self.config.sizing(),
            vm.shape,
            self.log.clone(),
        );
        let disks = RootDisks::new(&vm.slots, &[&new.id], self.log.clone());
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

    /// Gives the interfaces back and removes the directory, all that there is but the VM.
    async fn undo(self) {
        network::give_back(self.dir.state(), &self.log).await;
        if !leave_cgroups(self.cgroups, &self.log).await {
            return;
        }
        if let Err(error) = self.dir.remove() {
            warn!(self.log, "sandbox's directory stays"; "error" => %error);
        }
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

/// Makes the first container.
async fn fill(
    pod: &Pod,
    new: NewTask,
    rootfs: Rootfs,
    timeline: &mut Timeline,
) -> Result<(), Error> {
    let container = NewContainer {
        id: new.id,
        kind: new.kind,
        bundle: new.bundle,
        rootfs,
        mounts: new.mounts,
        stdio: new.stdio,
        options: pod.options,
    };
    let start = Instant::now();
    let CreatePhases { disk, container } = pod.sandbox.create(container).await?;
    timeline.took("disk", start, disk);
    timeline.took("container", start + disk, container);
    Ok(())
}

async fn kill(vm: &Vm, log: &Logger) {
    if let Err(error) = vm.vm.kill().await {
        warn!(log, "VM may be left behind"; "error" => %error);
    }
}

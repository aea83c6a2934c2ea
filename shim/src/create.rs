//! Starts a pod: its VM, its sandbox, its first container.
//!
//! ```text
//!   config --> directory --+--> vm ------+--> sandbox --> disk, container --> report
//!                          +--> rootfs --+
//! ```
//!
//! On an error everything made so far is undone, last first.

use std::time::Instant;

use runtime_core::{
    config::Config,
    container::{CreatePhases, NewContainer},
    oci,
    rootfs::{self, Rootfs, RootfsCache},
    sandbox::{NewSandbox, Sandbox},
    state::{ContainerRecord, SandboxDir},
};
use slog::{Logger, info, warn};
use tokio::sync::{Mutex, mpsc};

use crate::{
    bundle,
    error::Error,
    guest_log,
    launch::{Launch, LaunchError, Vm},
    pod::{NewTask, Pod, spec_options},
    publisher::{self, Destination},
    timeline::{StartReport, Timeline},
};

/// The sandbox's `/dev/shm`, in bytes, as containerd gives it to containers.
const SHM_BYTES: u64 = 64 << 20;

/// Starts the pod of a sandbox or single container.
///
/// # Errors
/// Nothing of the pod is left, or the log says what is.
pub async fn pod(
    new: NewTask,
    launch: &dyn Launch,
    namespace: &str,
    log: &Logger,
) -> Result<Pod, Error> {
    let mut timeline = Timeline::begin();
    let start = Instant::now();
    let config = Config::load(new.config.as_deref(), log).map_err(LaunchError::from)?;
    let cache = RootfsCache::open(
        &config.runtime.rootfs_cache_dir,
        config.runtime.rootfs_cache_mib << 20,
    )?;
    timeline.ended("config", start);

    let directory = SandboxDir::path_for(&config.runtime.run_root, &new.id)?;
    bundle::note_sandbox(&new.bundle.path, &directory)?;
    let mut dir = SandboxDir::create(&config.runtime.run_root, &new.id, &new.bundle.path)?;
    let record = ContainerRecord {
        bundle: new.bundle.path.clone(),
        disks: Vec::new(),
    };
    let recorded = dir.record(|state| drop(state.containers.insert(new.id.clone(), record)));
    let made = match recorded {
        Err(error) => Err(error.into()),
        Ok(()) => machine(&new, &config, &cache, &dir, launch, &mut timeline, log).await,
    };
    let (vm, rootfs) = match made {
        Ok(made) => made,
        Err(error) => {
            remove(dir, log);
            return Err(error);
        }
    };
    populate(
        new, config, cache, dir, vm, rootfs, timeline, namespace, log,
    )
    .await
}

/// The VM and the root file system, made beside each other.
async fn machine(
    new: &NewTask,
    config: &Config,
    cache: &RootfsCache,
    dir: &SandboxDir,
    launch: &dyn Launch,
    timeline: &mut Timeline,
    log: &Logger,
) -> Result<(Vm, Rootfs), Error> {
    let run_dir = dir.monitor_dir();
    let prepare = async {
        let start = Instant::now();
        let rootfs = rootfs::prepare(&new.mounts, &new.bundle, cache, log).await;
        (rootfs, start, start.elapsed())
    };
    let launched = launch.launch(config, &new.id, &run_dir, timeline, log);
    let (launched, (rootfs, start, took)) = tokio::join!(launched, prepare);
    timeline.took("rootfs", start, took);
    match (launched, rootfs) {
        (Ok(vm), Ok(rootfs)) => {
            if let Rootfs::Erofs {
                packed: Some(packed),
                ..
            } = &rootfs
            {
                timeline.took("rootfs.pack", start, *packed);
            }
            Ok((vm, rootfs))
        }
        (Ok(vm), Err(error)) => {
            kill(&vm, log).await;
            Err(error.into())
        }
        (Err(error), _) => Err(error.into()),
    }
}

#[allow(clippy::too_many_arguments)] // Everything that was made, to be put together or undone.
async fn populate(
    new: NewTask,
    config: Config,
    cache: RootfsCache,
    mut dir: SandboxDir,
    vm: Vm,
    rootfs: Rootfs,
    mut timeline: Timeline,
    namespace: &str,
    log: &Logger,
) -> Result<Pod, Error> {
    let process = vm.vm.process();
    let (events, queue) = mpsc::unbounded_channel();
    let main = new.id.clone();
    let options = spec_options(&config);
    let start = Instant::now();
    let opened = async {
        dir.record(|state| state.monitor = Some(process.into()))?;
        let sandbox = NewSandbox {
            id: main.clone(),
            main: main.clone(),
            hostname: new.bundle.spec.hostname().clone().unwrap_or_default(),
            dns: Vec::new(),
            storages: vec![oci::sandbox_shm_storage(SHM_BYTES)],
            vm: vm.vm.clone(),
            agent: vm.agent.clone(),
            events,
            log: log.clone(),
        };
        Ok::<_, Error>(Sandbox::open(sandbox).await?)
    };
    let sandbox = match opened.await {
        Ok(sandbox) => sandbox,
        Err(error) => {
            kill(&vm, log).await;
            remove(dir, log);
            return Err(error);
        }
    };
    timeline.ended("sandbox", start);
    if let Some(socket) = vm.vm.log_socket() {
        guest_log::follow(socket.to_owned(), log);
    }
    let destination = Destination {
        namespace: namespace.to_owned(),
        pid: process.pid,
    };
    let publishing = publisher::publish(destination, queue, log.clone());
    let pod = Pod {
        sandbox,
        cache,
        options,
        main,
        dir: Mutex::new(Some(dir)),
        events: Mutex::new(Some(publishing)),
        log: log.clone(),
    };
    let container = NewContainer {
        id: new.id,
        kind: new.kind,
        bundle: new.bundle,
        rootfs,
        mounts: new.mounts,
        stdio: new.stdio,
        options,
    };
    let start = Instant::now();
    match pod.sandbox.create(container).await {
        Ok(CreatePhases { disk, container }) => {
            timeline.took("disk", start, disk);
            timeline.took("container", start + disk, container);
            report(&pod, &vm, &timeline).await;
            Ok(pod)
        }
        Err(error) => {
            pod.end().await;
            Err(error.into())
        }
    }
}

async fn report(pod: &Pod, vm: &Vm, timeline: &Timeline) {
    let record = &vm.record;
    info!(pod.log, "sandbox started";
        "sandbox" => &pod.main,
        "start_path" => record.path.as_str(),
        "template_key" => record.template_key.as_deref().unwrap_or("none"),
        "reason" => &record.reason,
        "total_ms" => timeline.total_ms(),
        "phases" => timeline.line());
    let report = StartReport {
        start_path: record.path.as_str().to_owned(),
        template_key: record.template_key.clone(),
        reason: record.reason.clone(),
        proof: record.proof.clone(),
        total_ms: timeline.total_ms(),
        phases: timeline.phases().to_vec(),
    };
    if let Some(dir) = pod.dir.lock().await.as_ref()
        && let Err(error) = report.write(dir.path())
    {
        warn!(pod.log, "start report was not written"; "error" => %error);
    }
}

async fn kill(vm: &Vm, log: &Logger) {
    if let Err(error) = vm.vm.kill().await {
        warn!(log, "VM may be left behind"; "error" => %error);
    }
}

fn remove(dir: SandboxDir, log: &Logger) {
    if let Err(error) = dir.remove() {
        warn!(log, "sandbox's directory stays"; "error" => %error);
    }
}

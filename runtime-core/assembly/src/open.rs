//! Opens a pod: its VM, its sandbox, and the container that comes with it.

use std::{
    net::IpAddr,
    sync::Arc,
    time::{Instant, SystemTime},
};

use factory::start::{StartPath, StartStep, Started, Timeline};
use oci::SpecOptions;
use pod::{
    container::{Counts, CreatePhases},
    sandbox::{Event, Sandbox},
};
use slog::{Logger, error, info, warn};
use system::error::chain;
use tokio::sync::{Mutex, mpsc};

use crate::{
    containers::Prepared,
    error::Error,
    guest_log,
    host::Host,
    network::Attaching,
    opening::{Machine, Opening},
    pod::Pod,
    request::{ContainerRequest, PodRequest},
};

impl Pod {
    /// Opens a pod without containers, or with its `first` one, which is prepared while the VM
    /// starts. A root file system that cannot be prepared ends the start of the VM at once.
    ///
    /// # Errors
    /// Nothing of the pod is left, or the log says what is.
    pub async fn open(
        request: PodRequest,
        first: Option<ContainerRequest>,
        host: Host<'_>,
    ) -> Result<Self, Error> {
        let mut opening = Opening::begin(request, &host)?;
        match opening.machine(first, host.launch).await {
            Ok(machine) => opening.in_machine(machine, host.events).await,
            Err(error) => Err(opening.undone(error).await),
        }
    }
}

impl Opening {
    /// Opens the sandbox in the VM, and makes its first container while the VM gets its network.
    async fn in_machine(
        mut self,
        machine: Machine,
        events: mpsc::Sender<Event>,
    ) -> Result<Pod, Error> {
        let Machine { vm, first, network } = machine;
        let addresses = network.addresses();
        let attaching = network.attach(&vm, &mut self.timeline);
        let began = Instant::now();
        let (sandbox, disks) = match self.sandbox(&vm, events).await {
            Ok(opened) => opened,
            Err(error) => {
                kill(&vm, &self.containers.log).await;
                return Err(self.undone(error).await);
            }
        };
        self.timeline.ended(StartStep::Sandbox, began);
        if let Some(socket) = vm.vm.log_socket() {
            guest_log::follow(socket.to_owned(), &self.containers.log);
        }
        let (mut pod, mut timeline) = self.pod(sandbox, disks, &vm, addresses);
        match pod.fill(first, attaching, &mut timeline).await {
            Ok(()) => {
                pod.report(&timeline).await;
                // Its place among the node's starts was held until here.
                drop(vm);
                Ok(pod)
            }
            Err(error) => {
                pod.end().await;
                Err(error)
            }
        }
    }

    /// The pod with its sandbox, and what is known of its start.
    fn pod(
        self,
        sandbox: Sandbox,
        disks: Arc<Counts>,
        vm: &Started,
        addresses: Vec<IpAddr>,
    ) -> (Pod, Timeline) {
        let log = self.containers.log.clone();
        let pod = Pod {
            created: SystemTime::now(),
            sandbox,
            directory: self.directory,
            report: vm.report.clone(),
            options: SpecOptions {
                guest_seccomp: !self.config.runtime.disable_guest_seccomp,
            },
            disks,
            network: Mutex::new(self.network.keep(vm, addresses, &log)),
            containers: self.containers,
            log,
        };
        (pod, self.timeline)
    }
}

impl Pod {
    /// Makes the first container, if there is one, and waits until the guest has its network.
    async fn fill(
        &self,
        first: Option<Prepared>,
        attaching: Attaching,
        timeline: &mut Timeline,
    ) -> Result<(), Error> {
        let mut attaching = Some(attaching);
        // What is set for interfaces holds for those that are there, as after a CNI plugin.
        let sets_interfaces = |first: &Prepared| oci::sets_interfaces(&first.request.bundle.spec);
        if first.as_ref().is_some_and(sets_interfaces)
            && let Some(attaching) = attaching.take()
        {
            attaching.done(timeline).await?;
        }
        if let Some(first) = first {
            let began = Instant::now();
            let CreatePhases { disk, container } = self.create(first).await?;
            timeline.took(StartStep::Disk, began, disk);
            timeline.took(StartStep::Container, began + disk, container);
        }
        if let Some(attaching) = attaching {
            attaching.done(timeline).await?;
        }
        Ok(())
    }

    /// Reports how the pod was started, in the log and in its directory. The pod depends on none of
    /// it.
    async fn report(&mut self, timeline: &Timeline) {
        let report = self.report.clone().as_of(timeline);
        // slog writes the last pair first, and a long line is cut: what matters comes last.
        info!(self.log, "sandbox started";
            "report" => report.to_json().unwrap_or_default(),
            "reason" => &report.reason,
            "total_ms" => report.total_ms,
            "start_path" => report.path.as_str(),
            "sandbox" => &report.sandbox);
        if report.path == StartPath::Restored
            && let Some(dir) = self.containers.dir.lock().await.as_ref()
            && let Err(error) = dir.link_vm()
        {
            warn!(self.log, "link to the VM not made"; "error" => chain(&error));
        }
        if let Err(error) = report.write(&self.directory) {
            warn!(self.log, "start report not written"; "error" => %error);
        }
        self.report = report;
    }
}

async fn kill(vm: &Started, log: &Logger) {
    if let Err(error) = vm.vm.kill().await {
        error!(log, "VMM not killed, it may still run"; "error" => chain(&error));
    }
}

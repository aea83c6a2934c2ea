//! Starts a pod: its VM, its sandbox, its first container.
//!
//! ```text
//!   config --> directory --+--> vm -------+--> sandbox --> disk, container --+--> report
//!                          +--> rootfs ---+                                  |
//!                          +--> network --+--> NICs, addresses, routes ------+
//! ```
//!
//! On an error everything made so far is undone, last first.

mod opening;

use std::{sync::Arc, time::Instant};

use factory::start::{StartStep, Started, Timeline};
use pod::{container::CreatePhases, sandbox::EVENTS};
use rootfs::Rootfs;
use slog::{Logger, warn};
use tokio::sync::mpsc;

use self::opening::{Machine, Opening};
use crate::{
    error::Error,
    guest_log,
    launch::Launch,
    network::Plugging,
    pids::Pids,
    pod::{NewTask, Pod},
    pod_files::Content,
    publisher::{self, Destination},
    report::report,
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
    let mut opening = Opening::begin(&new, log)?;
    let machine = match opening.share(content) {
        Ok(()) => opening.machine(&new, launch).await,
        Err(error) => Err(error),
    };
    match machine {
        Ok(machine) => open_and_fill(opening, new, machine, namespace).await,
        Err(error) => Err(undone(opening, error).await),
    }
}

/// Undoes all that there is but the VM, and says if the pod ran out of memory.
async fn undone(opening: Opening, error: Error) -> Error {
    let error = error.in_memory_of(opening.cgroups());
    opening.undo().await;
    error
}

/// Opens the sandbox in the VM, and makes its first container while the VM gets its network.
async fn open_and_fill(
    mut opening: Opening,
    new: NewTask,
    machine: Machine,
    namespace: &str,
) -> Result<Pod, Error> {
    let Machine {
        vm,
        rootfs,
        network,
    } = machine;
    let log = opening.log().clone();
    let (events, queue) = mpsc::channel(EVENTS);
    let addresses = network.addresses();
    let plugging = network.plug(&vm, opening.timeline());
    let began = Instant::now();
    let sandbox = match opening.sandbox(&new, &vm, events).await {
        Ok(sandbox) => sandbox,
        Err(error) => {
            kill(&vm, &log).await;
            return Err(undone(opening, error).await);
        }
    };
    opening.timeline().ended(StartStep::Sandbox, began);
    if let Some(socket) = vm.vm.log_socket() {
        guest_log::follow(socket.to_owned(), &log);
    }
    let pids = Arc::new(Pids::of_pod(sandbox.pid(), &new.id, &log));
    let destination = Destination {
        namespace: namespace.to_owned(),
        pids: pids.clone(),
    };
    let publishing = publisher::publish(destination, queue, log);
    let (pod, disks, mut timeline) = opening.pod(sandbox, pids, publishing, &vm, addresses);
    match fill(&pod, new, rootfs, plugging, &mut timeline).await {
        Ok(()) => {
            report(&pod, vm, disks, &timeline).await;
            Ok(pod)
        }
        Err(error) => {
            pod.end().await;
            Err(error)
        }
    }
}

/// Makes the first container, if there is one, and waits until the guest has its network.
async fn fill(
    pod: &Pod,
    new: NewTask,
    rootfs: Option<Rootfs>,
    plugging: Plugging,
    timeline: &mut Timeline,
) -> Result<(), Error> {
    let mut plugging = Some(plugging);
    // What is set for interfaces holds for those that are there, as after a CNI plugin.
    if oci::sets_interfaces(&new.bundle.spec)
        && let Some(plugging) = plugging.take()
    {
        plugging.done(timeline).await?;
    }
    if let Some(rootfs) = rootfs {
        let began = Instant::now();
        let CreatePhases { disk, container } = pod.make(new, rootfs).await?;
        timeline.took(StartStep::Disk, began, disk);
        timeline.took(StartStep::Container, began + disk, container);
    }
    if let Some(plugging) = plugging {
        plugging.done(timeline).await?;
    }
    Ok(())
}

async fn kill(vm: &Started, log: &Logger) {
    if let Err(error) = vm.vm.kill().await {
        warn!(log, "VM may be left behind"; "error" => %error);
    }
}

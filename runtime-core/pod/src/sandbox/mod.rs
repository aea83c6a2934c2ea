//! A pod: one VM, the containers in it, and the one task that owns both.
//!
//! ```text
//!   clients (Task API) --Request--> [ queue ] --> owner task --Commit--- [ operations ]
//!                                                  |   ^                   agent and VMM calls,
//!        Wait, State: answered from what it knows  |   +------------------ watches over processes
//!                                                  v
//!                                               Event --> containerd
//! ```
//!
//! The owner never waits for the guest or the VMM. It decides by
//! [`policy`](crate::process::policy), marks the process, and hands the work to an operation: a
//! future that ends in a *commit*, a closure which the owner runs on its own state. So requests for
//! one process take effect in order, containers do not wait for each other, and everything the owner
//! knows is only touched by the owner.
//!
//! The sandbox ends with its main container (the pause container, or the only one), with its VM, or
//! when its agent is lost. Every process that still runs then has ended with
//! [`STATUS_LOST`](crate::process::STATUS_LOST). Exits are published before the VM is taken down.

mod actions;
mod controls;
mod deleting;
mod ending;
mod error;
mod event;
mod owner;
mod request;
#[cfg(test)]
mod tests;

use std::sync::Arc;

use agent_client::{
    Agent,
    agent::{CreateSandboxRequest, StatsContainerResponse, Storage},
};
use config::VolumeSettings;
use hypervisors::Vm;
use oci_spec::runtime::LinuxResources;
use resources::PodResources;
use slog::Logger;
use tokio::sync::{mpsc, oneshot, watch};

pub use error::Error;
pub use event::Event;
pub use request::TaskState;

use crate::{
    container::{CreatePhases, NewContainer, RootDisks},
    process::{Exit, NewExec, TaskId},
};
use owner::Owner;
use request::{Action, Reply, Request};

/// Requests that may wait for the owner. It never waits itself, so the queue is short.
const QUEUE: usize = 64;

/// Events that are kept for a reader that is away. Clients can cause few meanwhile, since they come
/// by the reader; but a guest can report as much as it likes, so its reports get half of the places.
pub const EVENTS: usize = 1024;

/// Longest hostname Linux takes.
const HOSTNAME_MAX: usize = 64;

/// A sandbox to open in a VM whose agent answers.
pub struct NewSandbox {
    /// Its id, and that of the container with which it ends.
    pub id: String,
    /// The pod's uid, by which kubelet names its directory.
    pub pod_uid: Option<String>,
    /// The hostname of its containers.
    pub hostname: String,
    /// What the node decides about volumes.
    pub volumes: VolumeSettings,
    /// The disks of its containers.
    pub disks: RootDisks,
    /// What its containers share, mounted by the guest.
    pub storages: Vec<Storage>,
    /// What it may use.
    pub resources: PodResources,
    /// Its VM.
    pub vm: Arc<dyn Vm>,
    /// The agent in that VM.
    pub agent: Agent,
    /// Where events go; of [`EVENTS`] places. The owner never waits for a reader.
    pub events: mpsc::Sender<Event>,
    /// Log.
    pub log: Logger,
}

/// A handle on a sandbox's task. Clones are handles on the same sandbox.
#[derive(Clone)]
pub struct Sandbox {
    requests: mpsc::Sender<Request>,
    ended: watch::Receiver<bool>,
    pid: u32,
}

impl Sandbox {
    /// Opens a sandbox: tells the guest, and starts the owner.
    ///
    /// # Errors
    /// The guest refused or was lost. The VM is left to the caller.
    pub async fn open(new: NewSandbox) -> Result<Self, Error> {
        let request = CreateSandboxRequest {
            hostname: new.hostname.chars().take(HOSTNAME_MAX).collect(),
            storages: new.storages.clone(),
            sandbox_id: new.id.clone(),
            ..Default::default()
        };
        // Beside it: no start waits for that answer.
        let asked = async { Ok(new.agent.finds_present_devices().await) };
        let ((), finds_slots) = tokio::try_join!(new.agent.create_sandbox(request), asked)
            .map_err(|source| Error::Agent {
                action: "Creating the sandbox",
                source,
            })?;
        if !finds_slots {
            new.disks.plug_all();
        }
        let pid = new.vm.process().pid;
        let (requests, queue) = mpsc::channel(QUEUE);
        let (owner, ended) = Owner::new(new, queue);
        tokio::spawn(owner.run());
        Ok(Self {
            requests,
            ended,
            pid,
        })
    }

    /// Process id of the monitor: what stands for every process of the sandbox on this node.
    #[must_use]
    pub fn pid(&self) -> u32 {
        self.pid
    }

    /// Makes a container, up to the point where its init can be started.
    ///
    /// # Errors
    /// As the guest and the monitor have it. Nothing of the container is left.
    pub async fn create(&self, new: NewContainer) -> Result<CreatePhases, Error> {
        self.ask(|reply| Request::Create(Box::new(new), reply))
            .await
    }

    /// Tells where a process is in its life.
    ///
    /// # Errors
    /// There is no such process.
    pub async fn state(&self, id: TaskId) -> Result<TaskState, Error> {
        self.ask(|reply| Request::Task(id, Action::State(reply)))
            .await
    }

    /// Waits for the end of a process, without holding the sandbox. Any number may wait.
    ///
    /// # Errors
    /// There is no such process.
    pub async fn wait(&self, id: TaskId) -> Result<Exit, Error> {
        let mut exit = self
            .ask(|reply| Request::Task(id, Action::Wait(reply)))
            .await?;
        match exit.wait_for(Option::is_some).await {
            Ok(exit) => Ok(exit.unwrap_or_else(|| Exit::now(crate::process::STATUS_LOST))),
            Err(_) => Err(gone()),
        }
    }

    /// Starts a process.
    ///
    /// # Errors
    /// Its phase does not allow it, or the guest could not: then an exec has ended with
    /// [`STATUS_LOST`](crate::process::STATUS_LOST).
    pub async fn start(&self, id: TaskId) -> Result<(), Error> {
        self.ask(|reply| Request::Task(id, Action::Start(reply)))
            .await
    }

    /// Records a process to be started in a container later.
    ///
    /// # Errors
    /// The container's phase does not allow it, or the name is taken.
    pub async fn add_exec(&self, new: NewExec) -> Result<(), Error> {
        let container = TaskId::new(new.id.container.clone(), "");
        self.ask(|reply| Request::Task(container, Action::AddExec(Box::new(new), reply)))
            .await
    }

    /// Sends a signal. SIGKILL to an init reaches every process of its container; it is delivered
    /// to a paused container too, by thawing it. A guest that does not answer to SIGKILL or SIGTERM
    /// loses its VM; one that answers to SIGKILL and does not end the process loses it 30 s after
    /// the process's output is over, if it was the main container's init.
    ///
    /// # Errors
    /// There is no process, or the guest refused.
    pub async fn signal(&self, id: TaskId, signal: u32) -> Result<(), Error> {
        self.ask(|reply| Request::Task(id, Action::Signal(signal, reply)))
            .await
    }

    /// Sends a signal to a container's init, and to every process that was added to it and runs.
    /// What these have started themselves only SIGKILL reaches.
    ///
    /// # Errors
    /// As [`signal`](Self::signal) for the init.
    pub async fn signal_all(&self, container: String, signal: u32) -> Result<(), Error> {
        self.ask(|reply| Request::SignalAll(container, signal, reply))
            .await
    }

    /// Freezes a container.
    ///
    /// # Errors
    /// Its phase does not allow it, or the guest could not.
    pub async fn pause(&self, container: String) -> Result<(), Error> {
        self.ask(|reply| Request::Task(TaskId::new(container, ""), Action::Pause(reply)))
            .await
    }

    /// Thaws a container.
    ///
    /// # Errors
    /// Its phase does not allow it, or the guest could not.
    pub async fn resume(&self, container: String) -> Result<(), Error> {
        self.ask(|reply| Request::Task(TaskId::new(container, ""), Action::Resume(reply)))
            .await
    }

    /// Changes a container's resources, and lets the VM grow first if they ask for it.
    ///
    /// # Errors
    /// Its phase does not allow it, the VM cannot grow, or the guest could not.
    pub async fn update(&self, container: String, resources: LinuxResources) -> Result<(), Error> {
        let id = TaskId::new(container, "");
        self.ask(|reply| Request::Task(id, Action::Update(Box::new(resources), reply)))
            .await
    }

    /// Reads a container's counters.
    ///
    /// # Errors
    /// Its phase does not allow it, or the guest could not.
    pub async fn stats(&self, container: String) -> Result<StatsContainerResponse, Error> {
        self.ask(|reply| Request::Task(TaskId::new(container, ""), Action::Stats(reply)))
            .await
    }

    /// Changes the size of a process's terminal; before the start it is kept for then.
    ///
    /// # Errors
    /// There is no such process, or the guest could not.
    pub async fn resize(&self, id: TaskId, columns: u32, rows: u32) -> Result<(), Error> {
        self.ask(|reply| {
            Request::Task(
                id,
                Action::Resize {
                    columns,
                    rows,
                    reply,
                },
            )
        })
        .await
    }

    /// Lets a process's input end when the last client that writes to it is gone.
    ///
    /// # Errors
    /// There is no such process.
    pub async fn close_stdin(&self, id: TaskId) -> Result<(), Error> {
        self.ask(|reply| Request::Task(id, Action::CloseStdin(reply)))
            .await
    }

    /// Deletes a process. With the main container the VM ends, and is gone when this returns.
    ///
    /// # Errors
    /// It has not ended, or does not exist.
    pub async fn delete(&self, id: TaskId) -> Result<Exit, Error> {
        self.ask(|reply| Request::Task(id, Action::Delete(reply)))
            .await
    }

    /// How many containers there are; 0 when the owner is gone.
    pub async fn count(&self) -> usize {
        let (reply, answer) = oneshot::channel();
        match self.requests.send(Request::Count(reply)).await {
            Ok(()) => answer.await.unwrap_or_default(),
            Err(_) => 0,
        }
    }

    /// Takes the VM down, whatever runs in it, and returns when it is gone.
    pub async fn stop(&self) {
        if self.requests.send(Request::Stop).await.is_ok() {
            self.ended().await;
        }
    }

    /// Waits until the VM is gone.
    pub async fn ended(&self) {
        // An error means that the owner is gone, and it goes last.
        let _ = self.ended.clone().wait_for(|ended| *ended).await;
    }

    async fn ask<T>(&self, request: impl FnOnce(Reply<T>) -> Request) -> Result<T, Error> {
        let (reply, answer) = oneshot::channel();
        self.requests
            .send(request(reply))
            .await
            .map_err(|_| gone())?;
        answer.await.unwrap_or_else(|_| Err(gone()))
    }
}

fn gone() -> Error {
    Error::Ended("nothing owns it any more".to_owned())
}

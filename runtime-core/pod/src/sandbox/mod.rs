//! A pod: one VM, the containers in it, and the one task that owns both.
//!
//! ```text
//!   clients (Task API) --Request--> [ queue ] --> owner task --Commit--- [ operations ]
//!                                                  |   ^                   agent and VMM calls,
//!        Wait, State: answered from what it knows  |   +------------------ watches of processes
//!                                                  v
//!                                               Event --> containerd
//! ```
//!
//! The owner never waits for the guest or the VMM. It decides by
//! [`policy`](crate::process::policy), marks the process, and starts an operation: a future that
//! returns a *commit*, a closure that the owner runs on its state. So requests for one process take
//! effect in order, containers do not wait for each other, and only the owner touches its state.
//!
//! The sandbox ends with its main container (the pause container, or the only one), with its VM, or
//! when its agent is lost. Processes that still run then get the exit status
//! [`STATUS_LOST`](crate::process::STATUS_LOST). Exits are published before the VM is killed.

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

/// The most requests that wait for the owner. It never blocks, so the queue is short.
const QUEUE: usize = 64;

/// The most events that wait for their reader. Clients can cause only few meanwhile, since they
/// wait for the reader too. A guest can cause any number, so its reports use at most half of the
/// places.
pub const EVENTS: usize = 1024;

/// Longest hostname of Linux, in bytes.
const HOSTNAME_MAX: usize = 64;

/// A sandbox that is to be opened in a VM whose agent answers.
pub struct NewSandbox {
    /// Id of the sandbox, and of its main container, with which it ends.
    pub id: String,
    /// The pod's uid, by which kubelet names its directory.
    pub pod_uid: Option<String>,
    /// The hostname of its containers.
    pub hostname: String,
    /// The node's settings for volumes.
    pub volumes: VolumeSettings,
    /// The disks of its containers.
    pub disks: RootDisks,
    /// Storages that its containers share, which the guest mounts.
    pub storages: Vec<Storage>,
    /// The size of its VM, and its cgroups.
    pub resources: PodResources,
    /// The running VM of the sandbox.
    pub vm: Arc<dyn Vm>,
    /// The agent in that VM.
    pub agent: Agent,
    /// Channel for events, with [`EVENTS`] places. The owner never waits for a reader.
    pub events: mpsc::Sender<Event>,
    /// Log, to which the sandbox's id is added.
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
    /// Opens a sandbox: creates it in the guest, and starts the owner.
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
        // At the same time, so that no start waits for this answer.
        let asked = async { Ok(new.agent.finds_present_devices().await) };
        let ((), finds_slots) = tokio::try_join!(new.agent.create_sandbox(request), asked)
            .map_err(|source| Error::Agent {
                action: "Creating the sandbox",
                source,
            })?;
        if !finds_slots {
            new.disks.hot_plug_all();
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

    /// Process id of the VMM, which stands for every process of the sandbox on this node.
    #[must_use]
    pub fn pid(&self) -> u32 {
        self.pid
    }

    /// Creates a container, up to the point where its init can be started.
    ///
    /// # Errors
    /// The guest or the VMM refused. Nothing of the container is left.
    pub async fn create(&self, new: NewContainer) -> Result<CreatePhases, Error> {
        self.ask(|reply| Request::Create(Box::new(new), reply))
            .await
    }

    /// The phase, streams and exit of a process.
    ///
    /// # Errors
    /// There is no such process.
    pub async fn state(&self, id: TaskId) -> Result<TaskState, Error> {
        self.ask(|reply| Request::Task(id, Action::State(reply)))
            .await
    }

    /// Waits for the end of a process, without blocking the sandbox. Any number of callers may
    /// wait.
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

    /// Records a process that is started in a container later.
    ///
    /// # Errors
    /// The container's phase does not allow it, or the name is taken.
    pub async fn add_exec(&self, new: NewExec) -> Result<(), Error> {
        let container = TaskId::new(new.id.container.clone(), "");
        self.ask(|reply| Request::Task(container, Action::AddExec(Box::new(new), reply)))
            .await
    }

    /// Sends a signal. SIGKILL for an init is sent to every process of its container; a paused
    /// container is thawed by it. If the guest does not answer SIGKILL or SIGTERM, its VM is
    /// killed. If it answers SIGKILL and does not end the main container's init, its VM is killed
    /// 30 s after the init's output has ended.
    ///
    /// # Errors
    /// There is no process, or the guest refused.
    pub async fn signal(&self, id: TaskId, signal: u32) -> Result<(), Error> {
        self.ask(|reply| Request::Task(id, Action::Signal(signal, reply)))
            .await
    }

    /// Sends a signal to a container's init and to its running execs. Their child processes get
    /// only SIGKILL.
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

    /// Changes the size of a process's terminal; before the start, the size is stored until then.
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

    /// Closes a process's input after the last client has closed it.
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

    /// Number of containers; 0 if the owner is gone.
    pub async fn count(&self) -> usize {
        let (reply, answer) = oneshot::channel();
        match self.requests.send(Request::Count(reply)).await {
            Ok(()) => answer.await.unwrap_or_default(),
            Err(_) => 0,
        }
    }

    /// Kills the VM, and returns when it is gone.
    pub async fn stop(&self) {
        if self.requests.send(Request::Stop).await.is_ok() {
            self.ended().await;
        }
    }

    /// Waits until the VM is gone.
    pub async fn ended(&self) {
        // An error means that the owner is gone, which happens last.
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
    Error::Ended("its task is gone".to_owned())
}

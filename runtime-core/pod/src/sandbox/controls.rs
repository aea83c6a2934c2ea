//! Requests to an existing process: signals, freezing, limits, counters, terminal size.

use agent_client::{
    Agent, Code,
    agent::{
        PauseContainerRequest, ResumeContainerRequest, StatsContainerRequest,
        StatsContainerResponse, TtyWinResizeRequest, UpdateContainerRequest,
    },
};
use oci::guest_limits;
use oci_spec::runtime::LinuxResources;
use tokio::sync::oneshot;

use super::{
    Error, Event,
    actions::signal_request,
    owner::{Life, Owner, commit},
    request::{Action, Reply, SIGKILL, SIGTERM},
};
use crate::process::{Exit, Phase, TaskId, status_of_signal};

/// A change of a container by one call to the agent.
#[derive(Clone, Copy)]
struct Change {
    /// Name of the change in an error, as in "Pausing".
    action: &'static str,
    during: Phase,
    /// The phase before the change, and the one after it.
    phases: [Phase; 2],
    /// The event that is published after the change.
    event: fn(String) -> Event,
}

impl Owner {
    /// Sends a signal. If the guest does not answer a signal that should end a process, its VM is
    /// killed, so that the process ends in any case.
    pub(super) fn signal(&mut self, id: TaskId, signal: u32, reply: Reply<()>) {
        let Some(process) = self.process(&id) else {
            return;
        };
        if signal == SIGKILL {
            process.killed.send_replace(true);
        }
        let init = id.exec.is_none();
        let ends = matches!(signal, SIGKILL | SIGTERM);
        // A process that was not started has no watch.
        let unstarted = init && ends && process.phase == Phase::Created;
        // A frozen process cannot die.
        let thaw = init && process.phase == Phase::Paused && signal == SIGKILL;
        if unstarted {
            process.phase = Phase::Ending;
        } else if thaw {
            process.phase = Phase::Resuming;
        }
        let agent = self.agent.clone();
        self.run_aside(async move {
            let result = deliver(&agent, &id, signal, thaw).await;
            commit(move |owner| {
                if thaw {
                    let phase = if result.is_ok() {
                        Phase::Running
                    } else {
                        Phase::Paused
                    };
                    owner.leave(&id, Phase::Resuming, phase);
                }
                let result = match result {
                    Err(error) if ends && silent(&error) => {
                        owner.abandon("its agent did not answer in time when a process was to end");
                        Ok(())
                    }
                    result if unstarted => owner.unstarted_signalled(&id, signal, result),
                    result => result.map_err(|error| owner.unless_gone(&id, error)),
                };
                let _ = reply.send(result);
            })
        });
    }

    /// Signals a container's init, and those of its execs that run.
    pub(super) fn signal_all(&mut self, container: &str, signal: u32, reply: Reply<()>) {
        let execs = self.containers.get(container).map(|container| {
            let running = container
                .execs
                .iter()
                .filter(|(_, exec)| matches!(exec.phase, Phase::Starting | Phase::Running));
            running.map(|(name, _)| name.clone()).collect::<Vec<_>>()
        });
        for exec in execs.unwrap_or_default() {
            // One that has ended meanwhile is no error.
            let (unheard, _) = oneshot::channel();
            self.route(
                TaskId::new(container, exec),
                Action::Signal(signal, unheard),
            );
        }
        self.route(TaskId::new(container, ""), Action::Signal(signal, reply));
    }

    /// The error of a signal: in a VM that is ending there is no process any more.
    fn unless_gone(&mut self, id: &TaskId, error: Error) -> Error {
        let lost = matches!(
            error.of_agent(),
            Some(agent_client::Error::Disconnected { .. })
        );
        // Without its agent the VM is killed, even if that is not noticed here yet.
        if self.life == Life::Running && !lost {
            return error;
        }
        let phase = self
            .process(id)
            .map_or(Phase::Stopped, |process| process.phase);
        Error::NoProcess {
            task: id.clone(),
            phase,
        }
    }

    /// The end of an init that was signalled before it was started.
    fn unstarted_signalled(
        &mut self,
        id: &TaskId,
        signal: u32,
        result: Result<(), Error>,
    ) -> Result<(), Error> {
        match result {
            Err(error) if !unknown_to_guest(&error) => {
                self.leave(id, Phase::Ending, Phase::Created);
                Err(error)
            }
            _ => {
                self.exited(id, Exit::now(status_of_signal(signal)));
                Ok(())
            }
        }
    }

    pub(super) fn pause(&mut self, id: TaskId, reply: Reply<()>) {
        let agent = self.agent.clone();
        let request = PauseContainerRequest {
            container_id: id.container.clone(),
            ..Default::default()
        };
        let call = async move { agent.pause_container(request).await };
        let change = Change {
            action: "Pausing",
            during: Phase::Pausing,
            phases: [Phase::Running, Phase::Paused],
            event: Event::Paused,
        };
        self.change(id, change, call, reply);
    }

    pub(super) fn resume(&mut self, id: TaskId, reply: Reply<()>) {
        let agent = self.agent.clone();
        let request = resume_request(&id);
        let call = async move { agent.resume_container(request).await };
        let change = Change {
            action: "Resuming",
            during: Phase::Resuming,
            phases: [Phase::Paused, Phase::Running],
            event: Event::Resumed,
        };
        self.change(id, change, call, reply);
    }

    fn change(
        &mut self,
        id: TaskId,
        change: Change,
        call: impl Future<Output = agent_client::Result<()>> + Send + 'static,
        reply: Reply<()>,
    ) {
        self.mark(&id, change.during);
        self.run_aside(async move {
            let result = call.await.map_err(|source| Error::Agent {
                action: change.action,
                source,
            });
            commit(move |owner| {
                if result.is_ok() {
                    owner.publish((change.event)(id.container.clone()));
                }
                let [before, after] = change.phases;
                let phase = if result.is_ok() { after } else { before };
                owner.leave(&id, change.during, phase);
                let _ = reply.send(result);
            })
        });
    }

    /// Updates a container's limits. For larger ones the VM grows first.
    pub(super) fn update(&mut self, id: TaskId, limits: LinuxResources, reply: Reply<()>) {
        let (agent, resources) = (self.agent.clone(), self.resources.clone());
        let update = async move {
            resources.update(&id.container, &limits).await?;
            let request = UpdateContainerRequest {
                container_id: id.container,
                resources: Some(guest_limits(&limits)).into(),
                ..Default::default()
            };
            agent
                .update_container(request)
                .await
                .map_err(|source| Error::Agent {
                    action: "Updating",
                    source,
                })
        };
        self.answer_aside(update, reply);
    }

    pub(super) fn stats(&mut self, id: TaskId, reply: Reply<StatsContainerResponse>) {
        let agent = self.agent.clone();
        let read = async move {
            let request = StatsContainerRequest {
                container_id: id.container,
                ..Default::default()
            };
            agent
                .stats_container(request)
                .await
                .map_err(|source| Error::Agent {
                    action: "Reading the counters",
                    source,
                })
        };
        self.answer_aside(read, reply);
    }

    pub(super) fn resize(&mut self, id: TaskId, columns: u32, rows: u32, reply: Reply<()>) {
        let Some(process) = self.process(&id) else {
            return;
        };
        if process.phase == Phase::Created {
            process.console = Some((columns, rows));
            let _ = reply.send(Ok(()));
            return;
        }
        let resize = resize_in_guest(self.agent.clone(), id.clone(), columns, rows);
        self.run_aside(async move {
            let result = resize.await;
            commit(move |owner| {
                // Clients resize when they attach, and a short process is gone by then.
                let ended = owner.life != Life::Running
                    || owner
                        .process(&id)
                        .is_none_or(|process| process.exited().is_some());
                let _ = reply.send(if ended { Ok(()) } else { result });
            })
        });
    }
}

/// Lets the guest deliver a signal, and thaw the container afterwards.
async fn deliver(agent: &Agent, id: &TaskId, signal: u32, thaw: bool) -> Result<(), Error> {
    let delivered = async {
        agent.signal_process(signal_request(id, signal)).await?;
        if thaw {
            agent.resume_container(resume_request(id)).await?;
        }
        Ok(())
    };
    delivered.await.map_err(|source| Error::Agent {
        action: "Signalling",
        source,
    })
}

/// Whether the guest did not answer.
pub(super) fn silent(error: &Error) -> bool {
    use agent_client::Error::{Disconnected, Timeout};
    matches!(error.of_agent(), Some(Timeout { .. } | Disconnected { .. }))
}

/// Whether the guest says that there is no such process.
fn unknown_to_guest(error: &Error) -> bool {
    let code = error.of_agent().and_then(agent_client::Error::code);
    code == Some(Code::NOT_FOUND)
}

pub(super) async fn resize_in_guest(
    agent: Agent,
    id: TaskId,
    columns: u32,
    rows: u32,
) -> Result<(), Error> {
    let process = id.in_guest();
    let request = TtyWinResizeRequest {
        container_id: process.container,
        exec_id: process.exec,
        row: rows,
        column: columns,
        ..Default::default()
    };
    agent
        .tty_win_resize(request)
        .await
        .map_err(|source| Error::Agent {
            action: "Resizing the terminal",
            source,
        })
}

fn resume_request(id: &TaskId) -> ResumeContainerRequest {
    ResumeContainerRequest {
        container_id: id.container.clone(),
        ..Default::default()
    }
}

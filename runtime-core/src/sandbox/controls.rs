//! Requests that steer a process that is there: signals, freezing, limits, counters, terminal size.

use agent_client::{
    Agent,
    agent::{
        PauseContainerRequest, ResumeContainerRequest, SignalProcessRequest, StatsContainerRequest,
        StatsContainerResponse, TtyWinResizeRequest, UpdateContainerRequest,
    },
};
use oci_spec::runtime::LinuxResources;

use super::{
    Error, Event,
    owner::{Life, Owner, commit},
    policy::Phase,
    request::Reply,
};
use crate::{oci::guest_limits, process::TaskId};

const SIGKILL: u32 = 9;
const SIGTERM: u32 = 15;

/// A change of a container that one call into the guest makes.
#[derive(Clone, Copy)]
struct Change {
    /// For the error.
    action: &'static str,
    during: Phase,
    /// Before, and after.
    phases: [Phase; 2],
    /// Published when it was made.
    event: fn(String) -> Event,
}

impl Owner {
    pub(super) fn signal(&mut self, id: TaskId, signal: u32, reply: Reply<()>) {
        let Some(process) = self.process(&id) else {
            return;
        };
        if signal == SIGKILL {
            process.killed.send_replace(true);
        }
        // A frozen process cannot die.
        let thaw = signal == SIGKILL && id.exec.is_none() && process.phase == Phase::Paused;
        if thaw {
            process.phase = Phase::Resuming;
        }
        let agent = self.agent.clone();
        self.run_aside(async move {
            let request = SignalProcessRequest {
                container_id: id.container.clone(),
                // Empty is the init, and with SIGKILL everything in its cgroup.
                exec_id: id.exec.clone().unwrap_or_default(),
                signal,
                ..Default::default()
            };
            let mut result = agent.signal_process(request).await;
            if thaw && result.is_ok() {
                result = agent.resume_container(resume_request(&id)).await;
            }
            let result = result.map_err(|source| Error::Agent {
                action: "Signalling",
                source,
            });
            commit(move |owner| {
                if thaw {
                    let phase = if result.is_ok() {
                        Phase::Running
                    } else {
                        Phase::Paused
                    };
                    owner.leave(&id, Phase::Resuming, phase);
                }
                use agent_client::Error::{Disconnected, Timeout};
                let silent = matches!(
                    &result,
                    Err(Error::Agent {
                        source: Timeout { .. } | Disconnected { .. },
                        ..
                    })
                );
                let _ = reply.send(if silent && matches!(signal, SIGKILL | SIGTERM) {
                    // Whoever wants the process gone gets that, if need be with its VM.
                    owner.abandon("its agent did not answer in time when a process was to end");
                    Ok(())
                } else {
                    result
                });
            })
        });
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

    /// The VM grows before a container may use more; smaller limits are the guest's business alone.
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

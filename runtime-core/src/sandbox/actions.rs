//! What the owner does for a request that the policy lets through.

use agent_client::{
    Agent,
    agent::{
        ExecProcessRequest, PauseContainerRequest, ResumeContainerRequest, SignalProcessRequest,
        StartContainerRequest, StatsContainerRequest, StatsContainerResponse,
        TtyWinResizeRequest, UpdateContainerRequest,
    },
    oci::{self, LinuxResources},
};
use slog::debug;

use super::{
    Error, Event,
    owner::{Life, Owner, commit, open_streams},
    policy::{Phase, Verb},
    request::{Action, Reply},
};
use crate::{
    container,
    process::{Exit, NewExec, Process, STATUS_KILLED, STATUS_LOST, TaskId, Watch},
};

const SIGKILL: u32 = 9;

impl Owner {
    /// Does what was asked; the policy has allowed it.
    pub(super) fn perform(&mut self, id: TaskId, action: Action) {
        match action {
            Action::State(_) | Action::Wait(_) => {}
            Action::Start(reply) => self.start(id, reply),
            Action::AddExec(new, reply) => drop(reply.send(self.add_exec(*new))),
            Action::Signal(signal, reply) => self.signal(id, signal, reply),
            Action::Pause(reply) => self.pause(id, reply),
            Action::Resume(reply) => self.resume(id, reply),
            Action::Update(resources, reply) => self.update(id, *resources, reply),
            Action::Stats(reply) => self.stats(id, reply),
            Action::Resize { columns, rows, reply } => self.resize(id, columns, rows, reply),
            Action::CloseStdin(reply) => {
                if let Some(process) = self.process(&id) {
                    process.input_closed = true;
                    process.hold = None;
                }
                let _ = reply.send(Ok(()));
            }
            Action::Delete(reply) => match id.exec {
                None => self.delete_container(id, reply),
                Some(_) => self.delete_exec(&id, reply),
            },
        }
    }

    fn add_exec(&mut self, new: NewExec) -> Result<(), Error> {
        self.accepting()?;
        let id = new.id;
        let (Some(container), Some(exec)) = (self.containers.get_mut(&id.container), &id.exec)
        else {
            return Err(Error::NotFound(id));
        };
        if container.execs.contains_key(exec) {
            return Err(Error::AlreadyExists(id));
        }
        let process = Process::new(Phase::Created, new.stdio, Some(new.process));
        container.execs.insert(exec.clone(), process);
        self.publish(Event::ExecAdded(id));
        Ok(())
    }

    fn start(&mut self, id: TaskId, reply: Reply<()>) {
        match self.prepare_start(&id) {
            Err(error) => drop(reply.send(Err(error))),
            Ok(spec) => {
                let agent = self.agent.clone();
                let target = id.clone();
                self.run_aside(async move {
                    let result = start_in_guest(&agent, &target, spec).await;
                    commit(move |owner| owner.started(&id, result, reply))
                });
            }
        }
    }

    /// Checks what the phase alone does not say, and marks the process.
    fn prepare_start(&mut self, id: &TaskId) -> Result<Option<oci::Process>, Error> {
        self.accepting()?;
        let init = self.containers.get(&id.container).map(|c| c.init.phase);
        let phase = init.ok_or_else(|| Error::NotFound(id.clone()))?;
        if id.exec.is_some() && phase != Phase::Running {
            let task = TaskId::new(id.container.clone(), "");
            return Err(Error::WrongPhase { task, verb: Verb::AddExec, phase });
        }
        let process = self.process(id).ok_or_else(|| Error::NotFound(id.clone()))?;
        if process.streams.is_none() {
            open_streams(process)?;
        }
        process.phase = Phase::Starting;
        Ok(process.spec.take())
    }

    fn started(&mut self, id: &TaskId, result: Result<(), Error>, reply: Reply<()>) {
        match result {
            Ok(()) => {
                let event = Event::Started(id.clone());
                self.publish(event);
                self.watch(id);
                let _ = reply.send(Ok(()));
                if self.has_ended() {
                    self.lose(id);
                } else {
                    self.settle(id, Phase::Running);
                }
            }
            Err(error) => {
                let _ = reply.send(Err(error));
                // An init can be started again; an exec is spent.
                if id.exec.is_some() || self.has_ended() {
                    self.exited(id, Exit::now(STATUS_LOST));
                } else {
                    self.settle(id, Phase::Created);
                }
            }
        }
    }

    /// Sets a watch over a process that has just been started.
    fn watch(&mut self, id: &TaskId) {
        let (agent, log) = (self.agent.clone(), self.log.clone());
        let Some(process) = self.process(id) else { return };
        let Some((input, outputs)) = process.streams.take() else { return };
        let console = process.console.take();
        let watch = Watch {
            agent,
            process: id.in_guest(),
            terminal: process.stdio.terminal,
            input,
            outputs,
            killed: process.killed.subscribe(),
            log,
        };
        self.live.send_modify(|live| *live += 1);
        let id = id.clone();
        if let Some((columns, rows)) = console {
            let resize = resize_in_guest(self.agent.clone(), id.clone(), columns, rows);
            self.run_aside(async move {
                let result = resize.await;
                commit(move |owner| {
                    if let Err(error) = result {
                        debug!(owner.log, "terminal keeps its size"; "error" => ?error);
                    }
                })
            });
        }
        self.run_aside(async move {
            let exit = watch.run().await;
            commit(move |owner| owner.watch_ended(&id, exit))
        });
    }

    fn signal(&mut self, id: TaskId, signal: u32, reply: Reply<()>) {
        let Some(process) = self.process(&id) else { return };
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
            let result = result.map_err(|source| Error::Agent { action: "Signalling", source });
            commit(move |owner| {
                if thaw {
                    let phase = if result.is_ok() { Phase::Running } else { Phase::Paused };
                    owner.leave(&id, Phase::Resuming, phase);
                }
                let _ = reply.send(result);
            })
        });
    }

    fn pause(&mut self, id: TaskId, reply: Reply<()>) {
        self.mark(&id, Phase::Pausing);
        let agent = self.agent.clone();
        self.run_aside(async move {
            let request =
                PauseContainerRequest { container_id: id.container.clone(), ..Default::default() };
            let result = agent
                .pause_container(request)
                .await
                .map_err(|source| Error::Agent { action: "Pausing", source });
            commit(move |owner| {
                if result.is_ok() {
                    owner.publish(Event::Paused(id.container.clone()));
                }
                let phase = if result.is_ok() { Phase::Paused } else { Phase::Running };
                owner.leave(&id, Phase::Pausing, phase);
                let _ = reply.send(result);
            })
        });
    }

    fn resume(&mut self, id: TaskId, reply: Reply<()>) {
        self.mark(&id, Phase::Resuming);
        let agent = self.agent.clone();
        self.run_aside(async move {
            let result = agent
                .resume_container(resume_request(&id))
                .await
                .map_err(|source| Error::Agent { action: "Resuming", source });
            commit(move |owner| {
                if result.is_ok() {
                    owner.publish(Event::Resumed(id.container.clone()));
                }
                let phase = if result.is_ok() { Phase::Running } else { Phase::Paused };
                owner.leave(&id, Phase::Resuming, phase);
                let _ = reply.send(result);
            })
        });
    }

    fn update(&mut self, id: TaskId, resources: LinuxResources, reply: Reply<()>) {
        let agent = self.agent.clone();
        let update = async move {
            let request = UpdateContainerRequest {
                container_id: id.container,
                resources: Some(resources).into(),
                ..Default::default()
            };
            agent
                .update_container(request)
                .await
                .map_err(|source| Error::Agent { action: "Updating", source })
        };
        self.answer_aside(update, reply);
    }

    fn stats(&mut self, id: TaskId, reply: Reply<StatsContainerResponse>) {
        let agent = self.agent.clone();
        let read = async move {
            let request =
                StatsContainerRequest { container_id: id.container, ..Default::default() };
            agent
                .stats_container(request)
                .await
                .map_err(|source| Error::Agent { action: "Reading the counters", source })
        };
        self.answer_aside(read, reply);
    }

    fn resize(&mut self, id: TaskId, columns: u32, rows: u32, reply: Reply<()>) {
        let Some(process) = self.process(&id) else { return };
        if process.phase == Phase::Created {
            process.console = Some((columns, rows));
            let _ = reply.send(Ok(()));
        } else {
            self.answer_aside(resize_in_guest(self.agent.clone(), id, columns, rows), reply);
        }
    }

    fn delete_exec(&mut self, id: &TaskId, reply: Reply<Exit>) {
        let container = self.containers.get_mut(&id.container);
        let exec = id.exec.as_deref().unwrap_or_default();
        let gone = container.and_then(|container| container.execs.remove(exec));
        let _ = reply.send(match gone {
            Some(process) => Ok(process.exited().unwrap_or_else(|| Exit::now(STATUS_KILLED))),
            None => Err(Error::NotFound(id.clone())),
        });
    }

    fn delete_container(&mut self, id: TaskId, reply: Reply<Exit>) {
        self.mark(&id, Phase::Deleting);
        let last = id.container == self.main;
        if last {
            self.stop("its main container was deleted");
        }
        let held = self.containers.get_mut(&id.container).and_then(|c| c.held.take());
        let (vm, agent, log) = (self.vm.clone(), self.agent.clone(), self.log.clone());
        let alive = self.life == Life::Running;
        let mut ended = self.ended.subscribe();
        self.run_aside(async move {
            if alive {
                container::remove(vm, agent, id.container.clone(), held, log).await;
            } else {
                // The disk's content must outlive the VM. The owner, which tells, runs on.
                let _ = ended.wait_for(|ended| *ended).await;
                drop(held);
            }
            commit(move |owner| owner.deleted(&id, reply))
        });
    }

    fn deleted(&mut self, id: &TaskId, reply: Reply<Exit>) {
        let exit = self.process(id).and_then(|process| process.exited());
        let exit = exit.unwrap_or_else(|| Exit::now(STATUS_KILLED));
        self.end_execs(&id.container, Exit::now(STATUS_KILLED));
        if let Some(process) = self.process(id) {
            process.exit.send_replace(Some(exit));
        }
        self.publish(Event::Deleted { container: id.container.clone(), exit });
        self.forget(&id.container);
        let _ = reply.send(Ok(exit));
    }

    fn mark(&mut self, id: &TaskId, phase: Phase) {
        if let Some(process) = self.process(id) {
            process.phase = phase;
        }
    }

    /// Settles a process, unless it has left `from` by itself (it has ended).
    fn leave(&mut self, id: &TaskId, from: Phase, to: Phase) {
        if self.process(id).is_some_and(|process| process.phase == from) {
            self.settle(id, to);
        }
    }
}

async fn start_in_guest(
    agent: &Agent,
    id: &TaskId,
    spec: Option<oci::Process>,
) -> Result<(), Error> {
    let process = id.in_guest();
    let result = if id.exec.is_none() {
        let request =
            StartContainerRequest { container_id: process.container, ..Default::default() };
        agent.start_container(request).await
    } else {
        let request = ExecProcessRequest {
            container_id: process.container,
            exec_id: process.exec,
            process: spec.into(),
            ..Default::default()
        };
        agent.exec_process(request).await
    };
    result.map_err(|source| Error::Agent { action: "Starting the process", source })
}

fn resume_request(id: &TaskId) -> ResumeContainerRequest {
    ResumeContainerRequest { container_id: id.container.clone(), ..Default::default() }
}

async fn resize_in_guest(agent: Agent, id: TaskId, columns: u32, rows: u32) -> Result<(), Error> {
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
        .map_err(|source| Error::Agent { action: "Resizing the terminal", source })
}

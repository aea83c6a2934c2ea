//! What the owner does for a request that the policy allows.

use agent_client::{
    Agent,
    agent::{ExecProcessRequest, SignalProcessRequest, StartContainerRequest},
    oci,
};
use slog::debug;
use system::error::chain;
use volumes::Termination;

use super::{
    Error, Event,
    controls::resize_in_guest,
    owner::{Owner, commit, open_streams},
    request::{Action, Reply, SIGKILL},
};
use crate::process::{
    Ended, Exit, NewExec, Phase, Process, STATUS_LOST, TaskId, Watch, policy::Verb,
};

impl Owner {
    /// Does what a request asks for; the policy has allowed it.
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
            Action::Resize {
                columns,
                rows,
                reply,
            } => self.resize(id, columns, rows, reply),
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

    /// Checks what the policy does not know, and marks the process as starting.
    fn prepare_start(&mut self, id: &TaskId) -> Result<Option<oci::Process>, Error> {
        self.accepting()?;
        let init = self.containers.get(&id.container).map(|c| c.init.phase);
        let phase = init.ok_or_else(|| Error::NotFound(id.clone()))?;
        if id.exec.is_some() && phase != Phase::Running {
            let task = TaskId::new(id.container.clone(), "");
            return Err(Error::WrongPhase {
                task,
                verb: Verb::AddExec,
                phase,
            });
        }
        let process = self
            .process(id)
            .ok_or_else(|| Error::NotFound(id.clone()))?;
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
                let unknown = error.is_unanswered();
                let _ = reply.send(Err(self.explained(error)));
                if unknown {
                    self.kill_if_started(id);
                }
                // An init can be started again, but not an exec. One that may run is lost.
                if unknown || self.has_ended() {
                    self.lose(id);
                } else if id.exec.is_some() {
                    self.exited(id, Exit::now(STATUS_LOST));
                } else {
                    self.settle(id, Phase::Created);
                }
            }
        }
    }

    /// Kills a process of which it is not known whether the guest started it.
    fn kill_if_started(&mut self, id: &TaskId) {
        let (agent, request) = (self.agent.clone(), signal_request(id, SIGKILL));
        self.run_aside(async move {
            let result = agent.signal_process(request).await;
            commit(move |owner| {
                if let Err(error) = result {
                    debug!(owner.log, "process not killed"; "error" => chain(&error));
                }
            })
        });
    }

    /// Starts to watch a process that was just started.
    fn watch(&mut self, id: &TaskId) {
        let (agent, log) = (self.agent.clone(), self.log.clone());
        let Some(process) = self.process(id) else {
            return;
        };
        let Some((input, outputs)) = process.streams.take() else {
            return;
        };
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
                        debug!(owner.log, "terminal not resized"; "error" => chain(&error));
                    }
                })
            });
        }
        let termination = self.termination(&id);
        let (agent, log) = (self.agent.clone(), self.log.clone());
        self.run_aside(async move {
            let exit = watch.run().await;
            // kubelet reads the message as soon as it gets the exit.
            if let (Ok(Ended::Reported(_)), Some(termination)) = (&exit, termination) {
                termination.write_back(&agent, &id.container, &log).await;
            }
            commit(move |owner| owner.watch_ended(&id, exit))
        });
    }

    /// The file for the message that a container leaves when its init ends.
    fn termination(&self, id: &TaskId) -> Option<Termination> {
        let container = self.containers.get(&id.container);
        let held = container.filter(|_| id.exec.is_none())?.held.as_ref()?;
        held.volumes.termination()
    }

    pub(super) fn mark(&mut self, id: &TaskId, phase: Phase) {
        if let Some(process) = self.process(id) {
            process.phase = phase;
        }
    }

    /// Settles a process, unless its phase is not `from` any more: it may have ended.
    pub(super) fn leave(&mut self, id: &TaskId, from: Phase, to: Phase) {
        if self
            .process(id)
            .is_some_and(|process| process.phase == from)
        {
            self.settle(id, to);
        }
    }
}

/// The request to signal a process. SIGKILL for an init is sent to all processes of its cgroup.
pub(super) fn signal_request(id: &TaskId, signal: u32) -> SignalProcessRequest {
    SignalProcessRequest {
        container_id: id.container.clone(),
        exec_id: id.exec.clone().unwrap_or_default(),
        signal,
        ..Default::default()
    }
}

async fn start_in_guest(
    agent: &Agent,
    id: &TaskId,
    spec: Option<oci::Process>,
) -> Result<(), Error> {
    let process = id.in_guest();
    let result = if id.exec.is_none() {
        let request = StartContainerRequest {
            container_id: process.container,
            ..Default::default()
        };
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
    result.map_err(|source| Error::Agent {
        action: "Starting the process",
        source,
    })
}

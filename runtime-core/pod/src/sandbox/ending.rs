//! How processes and the sandbox end.

use std::time::Duration;

use hypervisors::VmExit;
use slog::{Logger, info, warn};
use system::error::chain;
use tokio::{sync::watch, time::timeout};

use super::{
    Error, Event,
    controls::silent,
    owner::{Life, Owner, commit},
};
use crate::{
    container,
    process::{Ended, Exit, Phase, STATUS_KILLED, STATUS_LOST, TaskId},
};

/// How long the exits of a sandbox's other processes are waited for after its main container has
/// ended, before the VM is killed.
const LAST_EXITS: Duration = Duration::from_secs(2);

/// Exit code of a VMM that was killed by SIGKILL.
const KILLED: i32 = 137;

impl Owner {
    /// Handles the result of a process's watch.
    pub(super) fn watch_ended(&mut self, id: &TaskId, ended: Result<Ended, agent_client::Error>) {
        self.live.send_modify(|live| *live = live.saturating_sub(1));
        match ended {
            Ok(Ended::Reported(exit)) => self.exited(id, exit),
            Ok(Ended::Overdue) => self.overdue(id),
            Err(error) => {
                if self.life == Life::Running {
                    warn!(self.log, "exit status lost";
                        "process" => %id, "error" => chain(&error));
                }
                self.lose(id);
            }
        }
    }

    /// Handles a process that was killed and whose exit the guest does not report. If it is the
    /// main container, the VM is killed, since the sandbox would never end.
    fn overdue(&mut self, id: &TaskId) {
        warn!(self.log, "killed process not ended by the guest"; "process" => %id);
        let main = id.exec.is_none() && id.container == self.main;
        if main {
            self.abandon("its guest did not end its main container");
        }
        self.exited(id, Exit::now(STATUS_KILLED));
    }

    /// Stores and publishes an exit, once per process.
    pub(super) fn exited(&mut self, id: &TaskId, exit: Exit) {
        let Some(process) = self.process(id) else {
            return;
        };
        if process.exited().is_some() {
            return;
        }
        process.exit.send_replace(Some(exit));
        process.hold = None;
        process.streams = None;
        let deleting = process.phase == Phase::Deleting;
        self.publish(Event::Exited(id.clone(), exit));
        if !deleting {
            self.settle(id, Phase::Stopped);
        }
        if id.exec.is_none() {
            self.resources.forget(&id.container);
        }
        if id.exec.is_none() && id.container == self.main {
            self.stop("its main container has ended");
        }
    }

    /// Ends a process whose exit status cannot be learnt any more, since its VM or agent is lost.
    /// If the host's OOM killer has killed the VM, this is reported like a process that was killed
    /// by it.
    pub(super) fn lose(&mut self, id: &TaskId) {
        let lives = self.process(id).is_some_and(|one| one.exited().is_none());
        if !lives {
            return;
        }
        if self.out_of_memory().is_none() {
            return self.exited(id, Exit::now(STATUS_LOST));
        }
        if id.exec.is_none() {
            self.publish(Event::OutOfMemory(id.container.clone()));
        }
        self.exited(id, Exit::now(STATUS_KILLED));
    }

    /// The reason if the host's OOM killer has killed the VM. It is logged once.
    pub(super) fn out_of_memory(&mut self) -> Option<&str> {
        if self.out_of_memory.is_none() {
            let found = self.resources.out_of_memory()?;
            let why = format!("the host's OOM killer took its VM: {found}");
            warn!(self.log, "VM lost"; "reason" => &why);
            self.out_of_memory = Some(why);
        }
        self.out_of_memory.as_deref()
    }

    /// The error for a client: if the VM is gone, the reason for that.
    pub(super) fn explained(&mut self, error: Error) -> Error {
        if self.life == Life::Running && !silent(&error) {
            return error;
        }
        let why = self.out_of_memory().map(str::to_owned);
        why.map_or(error, Error::Ended)
    }

    /// Calls `end` for a container's execs that were started.
    pub(super) fn end_execs(&mut self, container: &str, end: impl Fn(&mut Self, &TaskId)) {
        let execs = self
            .containers
            .get(container)
            .map(|c| c.execs.keys().cloned().collect());
        let execs: Vec<String> = execs.unwrap_or_default();
        for exec in execs {
            let id = TaskId::new(container, exec);
            let never_started = self
                .process(&id)
                .is_some_and(|process| process.phase == Phase::Created);
            if !never_started {
                end(self, &id);
            }
        }
    }

    pub(super) fn has_ended(&self) -> bool {
        matches!(self.life, Life::Ended(_))
    }

    /// Ends the VM, after its processes had some time to report their exits.
    pub(super) fn stop(&mut self, why: &str) {
        self.take_down(why, LAST_EXITS);
    }

    /// Ends the VM without waiting for its processes.
    pub(super) fn stop_now(&mut self, why: &str) {
        self.take_down(why, Duration::ZERO);
    }

    /// Kills the VM when its agent is lost, since its processes cannot be reached any more.
    pub(super) fn watch_agent(&mut self) {
        let agent = self.agent.clone();
        self.run_aside(async move {
            agent.disconnected().await;
            commit(|owner| owner.abandon("its agent was lost"))
        });
    }

    /// Kills the VM without a call to its agent.
    pub(super) fn abandon(&mut self, why: &str) {
        if self.life == Life::Running {
            let why = self.out_of_memory().unwrap_or(why).to_owned();
            warn!(self.log, "VM abandoned"; "reason" => &why);
            self.life = Life::Stopping(why);
            self.kill_vm();
        }
    }

    fn take_down(&mut self, why: &str, exits_timeout: Duration) {
        if self.life != Life::Running {
            return;
        }
        info!(self.log, "stopping sandbox"; "reason" => why);
        self.life = Life::Stopping(why.to_owned());
        let writers: Vec<String> = self
            .containers
            .iter()
            .filter(|(_, c)| {
                c.held
                    .as_ref()
                    .is_some_and(|held| !held.rootfs.read_only() || held.volumes.has_disks())
            })
            .map(|(id, _)| id.clone())
            .collect();
        let live = self.live.subscribe();
        let (agent, log) = (self.agent.clone(), self.log.clone());
        self.run_aside(async move {
            last_exits(live, exits_timeout, &log).await;
            // Their disks are writable; after unmounting, all data is on them.
            for container in writers {
                container::remove_from_guest(&agent, &container, &log).await;
            }
            commit(Self::kill_vm)
        });
    }

    fn kill_vm(&mut self) {
        let vm = self.vm.clone();
        self.run_aside(async move {
            let killed = vm.kill().await;
            commit(move |owner| {
                if let Err(error) = killed {
                    warn!(owner.log, "VM not killed"; "error" => chain(&error));
                    owner.vm_ended(&VmExit {
                        code: None,
                        last_words: error.to_string(),
                    });
                }
            })
        });
    }

    /// Waits for the end of the VMM.
    pub(super) fn watch_vm(&mut self) {
        let vm = self.vm.clone();
        self.run_aside(async move {
            let exit = vm.wait().await;
            commit(move |owner| owner.vm_ended(&exit))
        });
    }

    fn vm_ended(&mut self, exit: &VmExit) {
        // It ended by itself and was not killed, which may be why the agent was lost.
        if !matches!(exit.code, None | Some(0 | KILLED)) {
            warn!(self.log, "VMM failed"; "code" => exit.code, "last_words" => &exit.last_words);
        }
        let why = match &self.life {
            Life::Ended(_) => return,
            Life::Stopping(why) => why.clone(),
            Life::Running => {
                let why = self.out_of_memory().unwrap_or("its VM ended by itself");
                let why = why.to_owned();
                warn!(self.log, "VM ended"; "reason" => &why, "code" => exit.code);
                why
            }
        };
        self.life = Life::Ended(why);
        let containers: Vec<String> = self.containers.keys().cloned().collect();
        for container in containers {
            self.end_execs(&container, Self::lose);
            let id = TaskId::new(container, "");
            // A call in progress fails by itself.
            let in_call = self.process(&id).is_some_and(|process| {
                matches!(
                    process.phase,
                    Phase::Creating | Phase::Starting | Phase::Deleting
                )
            });
            if !in_call {
                self.lose(&id);
            }
        }
        self.ended.send_replace(true);
    }
}

/// Waits until no process is live any more, at most for `limit`.
async fn last_exits(mut live: watch::Receiver<usize>, limit: Duration, log: &Logger) {
    match timeout(limit, live.wait_for(|live| *live == 0)).await {
        Ok(_) => {}
        Err(_) => info!(log, "killing VM with running processes"),
    }
}

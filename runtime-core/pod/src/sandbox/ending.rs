//! How processes and the sandbox end.

use std::time::Duration;

use hypervisors::VmExit;
use slog::{Logger, info, warn};
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

/// How long the other processes of a sandbox have to report their exits when its main container
/// has ended, before the VM is taken down.
const LAST_EXITS: Duration = Duration::from_secs(2);

/// Exit code of a monitor that was killed by SIGKILL.
const KILLED: i32 = 137;

impl Owner {
    /// A watch has ended.
    pub(super) fn watch_ended(&mut self, id: &TaskId, ended: Result<Ended, agent_client::Error>) {
        self.live.send_modify(|live| *live = live.saturating_sub(1));
        match ended {
            Ok(Ended::Reported(exit)) => self.exited(id, exit),
            Ok(Ended::Overdue) => self.overdue(id),
            Err(error) => {
                if self.life == Life::Running {
                    warn!(self.log, "process ended without an exit status";
                        "process" => %id, "error" => %error);
                }
                self.lose(id);
            }
        }
    }

    /// The guest was told to kill a process, and does not say that it has. Without the main
    /// container's end the sandbox would never end: a guest that keeps it is taken down.
    fn overdue(&mut self, id: &TaskId) {
        warn!(self.log, "guest did not end a killed process"; "process" => %id);
        let main = id.exec.is_none() && id.container == self.main;
        if main {
            self.abandon("its guest did not end its main container");
        }
        self.exited(id, Exit::now(STATUS_KILLED));
    }

    /// Records and publishes an exit, once per process.
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

    /// Ends a process of which nobody can tell any more, as whose VM is gone. If the host's OOM killer
    /// took that, the process has ended as one does that it takes, and its container is said to.
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

    /// Whether the host's OOM killer has taken the VM, and why; in the log once.
    pub(super) fn out_of_memory(&mut self) -> Option<&str> {
        if self.out_of_memory.is_none() {
            let found = self.resources.out_of_memory()?;
            let why = format!("the host's OOM killer took its VM: {found}");
            warn!(self.log, "VM is lost"; "reason" => &why);
            self.out_of_memory = Some(why);
        }
        self.out_of_memory.as_deref()
    }

    /// An error that a client gets: where the guest went with its VM, why that did.
    pub(super) fn explained(&mut self, error: Error) -> Error {
        if self.life == Life::Running && !silent(&error) {
            return error;
        }
        let why = self.out_of_memory().map(str::to_owned);
        why.map_or(error, Error::Ended)
    }

    /// Ends a container's execs that have not ended, by `end`.
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

    /// Takes the VM down after the processes that are about to end have said so.
    pub(super) fn stop(&mut self, why: &str) {
        self.take_down(why, LAST_EXITS);
    }

    /// Takes the VM down whatever runs in it.
    pub(super) fn stop_now(&mut self, why: &str) {
        self.take_down(why, Duration::ZERO);
    }

    /// Without its agent a VM is of no use: nobody can reach what runs in it.
    pub(super) fn watch_agent(&mut self) {
        let agent = self.agent.clone();
        self.run_aside(async move {
            agent.disconnected().await;
            commit(|owner| owner.abandon("its agent was lost"))
        });
    }

    /// Takes the VM down without asking its agent for anything.
    pub(super) fn abandon(&mut self, why: &str) {
        if self.life == Life::Running {
            let why = self.out_of_memory().unwrap_or(why).to_owned();
            warn!(self.log, "VM is taken down"; "reason" => &why);
            self.life = Life::Stopping(why);
            self.kill_vm();
        }
    }

    fn take_down(&mut self, why: &str, patience: Duration) {
        if self.life != Life::Running {
            return;
        }
        info!(self.log, "sandbox ends"; "reason" => why);
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
            last_exits(live, patience, &log).await;
            // Their disks are written to: unmounted, everything is on them.
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
                    warn!(owner.log, "VM may be left behind"; "error" => %error);
                    owner.vm_ended(&VmExit {
                        code: None,
                        last_words: error.to_string(),
                    });
                }
            })
        });
    }

    /// Learns of the monitor's end, whatever the cause.
    pub(super) fn watch_vm(&mut self) {
        let vm = self.vm.clone();
        self.run_aside(async move {
            let exit = vm.wait().await;
            commit(move |owner| owner.vm_ended(&exit))
        });
    }

    fn vm_ended(&mut self, exit: &VmExit) {
        // Its own end, not a kill: whoever lost the agent to it wants to know why.
        if !matches!(exit.code, None | Some(0 | KILLED)) {
            warn!(self.log, "monitor failed"; "code" => exit.code, "last_words" => &exit.last_words);
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
            // Those in a call learn it from the call.
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

async fn last_exits(mut live: watch::Receiver<usize>, patience: Duration, log: &Logger) {
    match timeout(patience, live.wait_for(|live| *live == 0)).await {
        Ok(_) => {}
        Err(_) => info!(log, "processes still run as the VM is taken down"),
    }
}

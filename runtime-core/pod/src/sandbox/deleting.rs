//! Deletion of processes.

use super::{
    Error, Event,
    owner::{Life, Owner, commit},
    request::Reply,
};
use crate::{
    container,
    process::{Exit, Phase, STATUS_KILLED, TaskId},
};

impl Owner {
    pub(super) fn delete_exec(&mut self, id: &TaskId, reply: Reply<Exit>) {
        let container = self.containers.get_mut(&id.container);
        let exec = id.exec.as_deref().unwrap_or_default();
        let gone = container.and_then(|container| container.execs.remove(exec));
        let _ = reply.send(match gone {
            Some(process) => Ok(process.exited().unwrap_or_else(|| Exit::now(STATUS_KILLED))),
            None => Err(Error::NotFound(id.clone())),
        });
    }

    pub(super) fn delete_container(&mut self, id: TaskId, reply: Reply<Exit>) {
        self.mark(&id, Phase::Deleting);
        let last = id.container == self.main;
        if last {
            self.stop("its main container was deleted");
        }
        let held = self
            .containers
            .get_mut(&id.container)
            .and_then(|c| c.held.take());
        let (vm, agent, log) = (self.vm.clone(), self.agent.clone(), self.log.clone());
        let disks = self.disks.clone();
        let alive = self.life == Life::Running;
        let mut ended = self.ended.subscribe();
        self.run_aside(async move {
            if alive {
                container::remove(vm, agent, disks, id.container.clone(), held, log).await;
            } else {
                // The disks' content must not be removed before the VM has ended.
                let _ = ended.wait_for(|ended| *ended).await;
                drop(held);
            }
            commit(move |owner| owner.deleted(&id, reply))
        });
    }

    fn deleted(&mut self, id: &TaskId, reply: Reply<Exit>) {
        let exit = self.process(id).and_then(|process| process.exited());
        let exit = exit.unwrap_or_else(|| Exit::now(STATUS_KILLED));
        let killed = Exit::now(STATUS_KILLED);
        self.end_execs(&id.container, |owner, exec| owner.exited(exec, killed));
        if let Some(process) = self.process(id) {
            process.exit.send_replace(Some(exit));
        }
        self.publish(Event::Deleted {
            container: id.container.clone(),
            exit,
        });
        self.forget(&id.container);
        let _ = reply.send(Ok(exit));
    }
}

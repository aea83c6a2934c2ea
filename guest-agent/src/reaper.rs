//! Collects every child that ends, and passes its exit code to those who wait for it.
//!
//! Only this module waits for children: PID 1 inherits orphans, too, which must not stay zombies
//! and whose exits must not be taken for those of a container's process.

use std::{collections::BTreeMap, sync::Arc};

use nix::errno::Errno;
use system::sync::{Mutex, MutexGuard};
use tokio::{
    signal::unix::{SignalKind, signal},
    sync::watch,
};

use crate::{
    error::{Doing, Result},
    syscalls,
};

/// The exit code of a process that was killed by SIGKILL.
const KILLED: i32 = 128 + libc::SIGKILL;

/// The exit code of a process once it has ended, or 128 plus the signal that ended it.
pub type Exit = watch::Receiver<Option<i32>>;

/// Collects the children of this process.
#[derive(Debug, Default)]
pub struct Reaper(Mutex<Children>);

#[derive(Debug, Default)]
struct Children {
    waited_for: BTreeMap<i32, watch::Sender<Option<i32>>>,
    /// Exit codes of unknown children by pid. Filled only while there are unclaimed children.
    unclaimed: BTreeMap<i32, i32>,
    /// How many [`UnclaimedChild`]ren there are.
    unclaimed_children: usize,
}

/// A child that is being made and whose pid is not known yet. While this exists no exit gets lost,
/// even if the child ends before it is claimed.
#[derive(Debug)]
pub struct UnclaimedChild(Arc<Reaper>);

impl Reaper {
    /// Starts to collect children.
    ///
    /// # Errors
    ///
    /// When the process cannot listen to SIGCHLD.
    pub fn start() -> Result<Arc<Self>> {
        let reaper = Arc::new(Self::default());
        let mut children = signal(SignalKind::child()).doing(|| "listen to SIGCHLD".into())?;
        let collector = Arc::clone(&reaper);
        tokio::spawn(async move {
            while children.recv().await.is_some() {
                collector.collect();
            }
        });
        Ok(reaper)
    }

    /// To be called before a child is made. The child is claimed when its pid is known.
    pub fn new_child(self: &Arc<Self>) -> UnclaimedChild {
        self.children().unclaimed_children += 1;
        UnclaimedChild(Arc::clone(self))
    }

    /// Sends `signal` to a claimed child. Does nothing if the child has ended: its pid may be that
    /// of another process by now.
    ///
    /// # Errors
    ///
    /// When the kernel refuses the signal.
    pub fn signal(&self, pid: i32, signal: i32) -> Result<()> {
        let children = self.children();
        if !children.waited_for.contains_key(&pid) {
            return Ok(());
        }
        match syscalls::kill(pid, signal) {
            Ok(()) | Err(Errno::ESRCH) => Ok(()),
            Err(errno) => Err(errno).doing(|| format!("send signal {signal} to process {pid}")),
        }
    }

    /// Calls `act` while the pid of a claimed child cannot become that of another process. Returns
    /// `None` without calling it if the child has ended.
    pub fn while_running<T>(&self, pid: i32, act: impl FnOnce() -> T) -> Option<T> {
        let children = self.children();
        children.waited_for.contains_key(&pid).then(act)
    }

    fn collect(&self) {
        let mut children = self.children();
        while let Some((pid, code)) = syscalls::collect_child() {
            children.ended(pid, code);
        }
    }

    fn children(&self) -> MutexGuard<'_, Children> {
        self.0.lock()
    }
}

impl Children {
    fn ended(&mut self, pid: i32, code: i32) {
        match self.waited_for.remove(&pid) {
            Some(waiter) => {
                waiter.send_replace(Some(code));
            }
            None if self.unclaimed_children > 0 => {
                self.unclaimed.insert(pid, code);
            }
            None => {}
        }
    }
}

impl UnclaimedChild {
    /// Claims the child that was made, by its pid.
    pub fn claim(&self, pid: i32) -> Exit {
        let mut children = self.0.children();
        let (waiter, exit) = watch::channel(children.unclaimed.remove(&pid));
        if exit.borrow().is_none() {
            children.waited_for.insert(pid, waiter);
        }
        exit
    }
}

impl Drop for UnclaimedChild {
    fn drop(&mut self) {
        let mut children = self.0.children();
        children.unclaimed_children -= 1;
        if children.unclaimed_children == 0 {
            children.unclaimed.clear();
        }
    }
}

/// Waits for the exit code in `exit`. If the reaper is gone, it is that of a killed process.
pub async fn ended(exit: &Exit) -> i32 {
    let mut exit = exit.clone();
    let code = exit
        .wait_for(Option::is_some)
        .await
        .ok()
        .and_then(|code| *code);
    code.unwrap_or(KILLED)
}

#[cfg(test)]
mod tests {
    use std::process::Command;

    use super::*;

    #[tokio::test]
    #[allow(
        clippy::zombie_processes,
        reason = "the test is about waiting for them"
    )]
    async fn every_waiter_gets_the_exit_code() {
        let reaper = Reaper::start().unwrap();
        for (script, code) in [
            ("exit 0", 0),
            ("exit 42", 42),
            ("kill -9 $$", 137),
            ("kill -40 $$", 168),
        ] {
            let child_to_claim = reaper.new_child();
            let child = Command::new("sh").args(["-c", script]).spawn().unwrap();
            let exit = child_to_claim.claim(child.id().cast_signed());
            assert_eq!(ended(&exit).await, code, "{script}");
            assert_eq!(ended(&exit).await, code, "a second waiter");
            reaper
                .signal(child.id().cast_signed(), libc::SIGKILL)
                .unwrap();
        }
    }

    #[test]
    fn an_exit_before_the_claim_is_not_lost() {
        let reaper = Arc::new(Reaper::default());
        reaper.children().ended(7, 1);
        let child_to_claim = reaper.new_child();
        reaper.children().ended(8, 2);
        assert_eq!(*child_to_claim.claim(8).borrow(), Some(2));
        assert_eq!(*child_to_claim.claim(7).borrow(), None);
        drop(child_to_claim);
        assert!(reaper.children().unclaimed.is_empty());
    }
}

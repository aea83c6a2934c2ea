//! Collects every child that ends, and tells who waits for it.
//!
//! One place calls `wait`: PID 1 also inherits orphans, whose exits must not be mistaken for those
//! of a container's process nor left as zombies.

use std::{collections::BTreeMap, sync::Arc};

use nix::errno::Errno;
use system::sync::{Mutex, MutexGuard};
use tokio::{
    signal::unix::{SignalKind, signal},
    sync::watch,
};

use crate::{
    error::{Doing, Result},
    raw,
};

/// What a process killed by SIGKILL leaves.
const KILLED: i32 = 128 + libc::SIGKILL;

/// The end of a process: its exit code, or 128 plus the signal that ended it.
pub type Exit = watch::Receiver<Option<i32>>;

/// Knows which children are waited for.
#[derive(Debug, Default)]
pub struct Reaper(Mutex<Children>);

#[derive(Debug, Default)]
struct Children {
    waited_for: BTreeMap<i32, watch::Sender<Option<i32>>>,
    /// Exits of unknown children, kept while somebody is about to learn a child's number.
    unclaimed: BTreeMap<i32, i32>,
    expecting: usize,
}

/// Somebody is making a child and does not know its number yet. Until this is dropped no exit
/// gets lost, however short the child's life.
#[derive(Debug)]
pub struct Expectation(Arc<Reaper>);

impl Reaper {
    /// Starts collecting.
    ///
    /// # Errors
    ///
    /// When SIGCHLD cannot be listened to.
    pub fn start() -> Result<Arc<Self>> {
        let reaper = Arc::new(Self::default());
        let mut children =
            signal(SignalKind::child()).doing(|| "listen for ending children".into())?;
        let collector = Arc::clone(&reaper);
        tokio::spawn(async move {
            while children.recv().await.is_some() {
                collector.collect();
            }
        });
        Ok(reaper)
    }

    /// To be called before a child is made.
    pub fn expect_child(self: &Arc<Self>) -> Expectation {
        self.children().expecting += 1;
        Expectation(Arc::clone(self))
    }

    /// Sends `signal` to a child that was claimed. One that has ended is left alone, and its
    /// number, which may belong to another process by now, is not used.
    ///
    /// # Errors
    ///
    /// When the kernel refuses the signal.
    pub fn signal(&self, pid: i32, signal: i32) -> Result<()> {
        let children = self.children();
        if !children.waited_for.contains_key(&pid) {
            return Ok(());
        }
        match raw::kill(pid, signal) {
            Ok(()) | Err(Errno::ESRCH) => Ok(()),
            Err(errno) => Err(errno).doing(|| format!("send signal {signal} to process {pid}")),
        }
    }

    /// Does something with the number of a child that was claimed, while it cannot become another's; not
    /// with that of one that has ended.
    pub fn while_present<T>(&self, pid: i32, act: impl FnOnce() -> T) -> Option<T> {
        let children = self.children();
        children.waited_for.contains_key(&pid).then(act)
    }

    fn collect(&self) {
        let mut children = self.children();
        while let Some((pid, code)) = raw::collect_child() {
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
            None if self.expecting > 0 => {
                self.unclaimed.insert(pid, code);
            }
            None => {}
        }
    }
}

impl Expectation {
    /// The child was made and has this number.
    pub fn claim(&self, pid: i32) -> Exit {
        let mut children = self.0.children();
        let (waiter, exit) = watch::channel(children.unclaimed.remove(&pid));
        if exit.borrow().is_none() {
            children.waited_for.insert(pid, waiter);
        }
        exit
    }
}

impl Drop for Expectation {
    fn drop(&mut self) {
        let mut children = self.0.children();
        children.expecting -= 1;
        if children.expecting == 0 {
            children.unclaimed.clear();
        }
    }
}

/// Waits for the end that `exit` announces. A reaper that is gone counts as a killed process.
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
        reason = "waiting for them is what is tested"
    )]
    async fn exits_reach_whoever_waits() {
        let reaper = Reaper::start().unwrap();
        for (script, code) in [
            ("exit 0", 0),
            ("exit 42", 42),
            ("kill -9 $$", 137),
            ("kill -40 $$", 168),
        ] {
            let expectation = reaper.expect_child();
            let child = Command::new("sh").args(["-c", script]).spawn().unwrap();
            let exit = expectation.claim(child.id().cast_signed());
            assert_eq!(ended(&exit).await, code, "{script}");
            assert_eq!(ended(&exit).await, code, "a second waiter");
            reaper
                .signal(child.id().cast_signed(), libc::SIGKILL)
                .unwrap();
        }
    }

    #[test]
    fn an_exit_before_the_claim_is_not_lost_and_a_strangers_is() {
        let reaper = Arc::new(Reaper::default());
        reaper.children().ended(7, 1);
        let expectation = reaper.expect_child();
        reaper.children().ended(8, 2);
        assert_eq!(*expectation.claim(8).borrow(), Some(2));
        assert_eq!(*expectation.claim(7).borrow(), None);
        drop(expectation);
        assert!(reaper.children().unclaimed.is_empty());
    }
}

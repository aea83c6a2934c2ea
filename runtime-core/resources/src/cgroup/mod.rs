//! A pod's cgroups on the host: where they are, who is in them, how they go.
//!
//! With `sandbox_cgroup_only` the shim moves itself into the pod's cgroup, so that everything it
//! starts is in it from its first instruction. Without, the shim and the monitor are in a cgroup
//! without limits, and only the vCPUs' threads are in the pod's (cgroup v1; on v2 a thread cannot
//! leave its process's domain, and they stay with the monitor).

mod error;
mod group;
mod list;
mod memory;
mod origin;
mod path;
mod remove;

use std::path::PathBuf;

use cgroups_rs::fs::{Hierarchy, hierarchies};
use slog::{Logger, warn};
use system::sync::{Mutex, MutexGuard};

pub use error::CgroupError;
pub use list::union;
pub use memory::OutOfMemory;
pub use path::CgroupPath;
pub use remove::remove_all;

use group::Group;
use origin::Origin;

/// Parent of the cgroups that are outside of their pods'.
const OVERHEAD: &str = "imprint_overhead";

/// Lets the kernel get ready for this process to move: the first move after a while waits some 10 ms
/// for a grace period (`rcu_sync` behind `cgroup_threadgroup_rwsem`), one that follows within about
/// 20 ms does not. A process that is about to make a pod's cgroups calls it on another thread, and
/// moves to where it is. Whether that worked is of no importance. However late its thread runs, it
/// does not take the process back out of a cgroup that it has entered since.
pub fn expect_move() {
    let _moving = moving();
    if let Ok(origin) = Origin::of_self(&*hierarchies::auto()) {
        origin.enter_one();
    }
}

/// Held while this process looks where it is and moves: two moves at once could end where neither
/// wanted.
fn moving() -> MutexGuard<'static, ()> {
    static MOVING: Mutex<()> = Mutex::new(());
    MOVING.lock()
}

/// The cgroups of one pod.
pub struct PodCgroups {
    /// Of the shim and the monitor.
    home: Group,
    /// Of the vCPUs, if that is another one.
    vcpus: Option<Group>,
    origin: Origin,
    log: Logger,
}

impl PodCgroups {
    /// Names the cgroups of sandbox `id`, in the hierarchies that the host has. Makes nothing.
    ///
    /// # Errors
    /// It is not known where this process is now.
    pub fn plan(
        path: &CgroupPath,
        id: &str,
        only: bool,
        log: &Logger,
    ) -> Result<Self, CgroupError> {
        Self::within(hierarchies::auto, path, id, only, log)
    }

    /// As [`plan`](Self::plan), in the hierarchies that `hierarchy` answers with.
    ///
    /// # Errors
    /// It is not known where this process is now.
    pub fn within(
        hierarchy: impl Fn() -> Box<dyn Hierarchy>,
        path: &CgroupPath,
        id: &str,
        only: bool,
        log: &Logger,
    ) -> Result<Self, CgroupError> {
        let pod = Group::load(hierarchy(), path.as_str(), path.parent_is_shared());
        let (home, vcpus) = if only {
            (pod, None)
        } else {
            let overhead = Group::load(hierarchy(), &format!("{OVERHEAD}/{id}"), true);
            (overhead, Some(pod))
        };
        Ok(Self {
            origin: Origin::of_self(&*hierarchy())?,
            home,
            vcpus,
            log: log.clone(),
        })
    }

    /// The directories that [`enter`](Self::enter) will make, parents first, to be recorded before
    /// it does. Those that are there already belong to somebody else and are left alone, but for
    /// parents that hold nothing else than containers: who is the last in them removes them.
    #[must_use]
    pub fn directories(&self) -> Vec<PathBuf> {
        let groups = [Some(&self.home), self.vcpus.as_ref()];
        let own = groups.into_iter().flatten().map(Group::own);
        own.flatten().cloned().collect()
    }

    /// Makes the cgroups and moves this process into its own.
    ///
    /// # Errors
    /// This process is where it was, and nothing that was made is left.
    pub fn enter(&self) -> Result<(), CgroupError> {
        let entered = self.make_and_enter();
        if entered.is_err() {
            for error in self.leave() {
                warn!(self.log, "cgroup is left behind"; "error" => %error);
            }
        }
        entered
    }

    /// Whether the host's OOM killer has ended the monitor, or a process beside it, since that was
    /// [known](Self::forget_kill).
    #[must_use]
    pub fn out_of_memory(&self) -> Option<OutOfMemory> {
        self.home.memory()?.killed()
    }

    /// Takes one process that the OOM killer has ended for another than the monitor.
    pub fn forget_kill(&self) {
        if let Some(memory) = self.home.memory() {
            memory.forget_kill();
        }
    }

    fn make_and_enter(&self) -> Result<(), CgroupError> {
        self.home.make()?;
        // The cgroup may have been there before.
        if let Some(memory) = self.home.memory() {
            memory.forget_kills();
        }
        if let Some(vcpus) = &self.vcpus {
            vcpus.make()?;
        }
        let _moving = moving();
        self.home.add_process(std::process::id())
    }

    /// Whether vCPUs have a cgroup of their own.
    #[must_use]
    pub fn has_vcpus_apart(&self) -> bool {
        self.vcpus.is_some()
    }

    /// Puts the threads of vCPUs where they belong.
    ///
    /// # Errors
    /// Some of them are still with the monitor.
    pub fn place_vcpus(&self, threads: &[u32]) -> Result<(), CgroupError> {
        let Some(vcpus) = &self.vcpus else {
            return Ok(());
        };
        if vcpus.is_v2() {
            warn!(
                self.log,
                "vCPUs are not in the pod's cgroup: cgroup v2 keeps the threads of a \
                process together; sandbox_cgroup_only = true puts the whole monitor there"
            );
            return Ok(());
        }
        threads
            .iter()
            .try_for_each(|thread| vcpus.add_thread(*thread))
    }

    /// Lets the pod run on these CPUs and memory nodes only (cpuset(7) lists; empty for all).
    ///
    /// # Errors
    /// The kernel refuses the list.
    pub fn confine(&self, cpus: &str, nodes: &str) -> Result<(), CgroupError> {
        let pod = self.vcpus.as_ref().unwrap_or(&self.home);
        pod.confine(cpus, nodes)
    }

    /// Moves this process back to where it was, ends what is left in the cgroups, and removes them.
    /// Tells what could not be done.
    pub fn leave(&self) -> Vec<CgroupError> {
        let back = {
            let _moving = moving();
            self.origin.enter().err()
        };
        back.into_iter()
            .chain(remove_all(&self.directories()))
            .collect()
    }
}

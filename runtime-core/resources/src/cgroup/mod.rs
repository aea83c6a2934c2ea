//! A pod's cgroups on the host: their paths, their processes, and their removal.
//!
//! With `sandbox_cgroup_only` the shim moves itself into the pod's cgroup, so everything that it
//! starts is in it from the first instruction. Without, the shim and the VMM are in a cgroup
//! without limits, and only the vCPUs' threads are in the pod's. That needs cgroup v1: on v2 a
//! thread cannot leave the domain of its process, so the threads stay with the VMM.

mod error;
mod group;
mod list;
mod memory;
mod path;
mod previous;
mod remove;

use std::path::PathBuf;

use cgroups_rs::fs::{Hierarchy, hierarchies};
use slog::{Logger, warn};
use system::{
    error::chain,
    sync::{Mutex, MutexGuard},
};

pub use error::CgroupError;
pub use list::union;
pub use memory::OutOfMemory;
pub use path::CgroupPath;
pub use remove::remove_all;

use group::Group;
use previous::PreviousCgroups;

/// Parent of the cgroups of shims and VMMs that are not in their pod's.
const OVERHEAD: &str = "imprint_overhead";

/// Prepares the kernel for moving this process, by moving it to the cgroup in which it is. The
/// first move after a while waits about 10 ms for a grace period (`rcu_sync` behind
/// `cgroup_threadgroup_rwsem`), one that follows within about 20 ms does not. A process that is
/// about to make a pod's cgroups calls this on another thread. A failure does not matter. However
/// late the thread runs, it does not move the process out of a cgroup that it has entered
/// meanwhile.
pub fn prepare_move() {
    let _moving = moving();
    if let Ok(previous) = PreviousCgroups::read(&*hierarchies::auto()) {
        previous.enter_one();
    }
}

/// Locked while this process reads its cgroup and moves: two moves at a time could end in a wrong
/// cgroup.
fn moving() -> MutexGuard<'static, ()> {
    static MOVING: Mutex<()> = Mutex::new(());
    MOVING.lock()
}

/// The cgroups of one pod.
pub struct PodCgroups {
    /// The cgroup of the shim and the VMM.
    home: Group,
    /// The cgroup of the vCPUs, if that is another one.
    vcpus: Option<Group>,
    previous: PreviousCgroups,
    log: Logger,
}

impl PodCgroups {
    /// The cgroups of sandbox `id`, in the hierarchies of the host. They are not made yet.
    ///
    /// # Errors
    /// The present cgroup of this process cannot be read.
    pub fn plan(
        path: &CgroupPath,
        id: &str,
        only: bool,
        log: &Logger,
    ) -> Result<Self, CgroupError> {
        Self::within(hierarchies::auto, path, id, only, log)
    }

    /// As [`plan`](Self::plan), in the hierarchies that `hierarchy` returns.
    ///
    /// # Errors
    /// As [`plan`](Self::plan).
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
            previous: PreviousCgroups::read(&*hierarchy())?,
            home,
            vcpus,
            log: log.clone(),
        })
    }

    /// The directories that [`enter`](Self::enter) will make, parents first. They must be recorded
    /// before. Directories that exist belong to another program and are not in the list, except
    /// parents that contain only containers' cgroups: the last container removes them.
    #[must_use]
    pub fn directories(&self) -> Vec<PathBuf> {
        let groups = [Some(&self.home), self.vcpus.as_ref()];
        let own = groups.into_iter().flatten().map(Group::own);
        own.flatten().cloned().collect()
    }

    /// Makes the cgroups and moves this process into its own.
    ///
    /// # Errors
    /// The kernel refuses. This process is in its former cgroup, and what was made is removed.
    pub fn enter(&self) -> Result<(), CgroupError> {
        let entered = self.make_and_enter();
        if entered.is_err() {
            for error in self.leave() {
                warn!(self.log, "cgroup not removed"; "error" => chain(&error));
            }
        }
        entered
    }

    /// Returns the pod's limit if the host's OOM killer has killed the VMM, or another process of
    /// its cgroup that was not [forgotten](Self::forget_kill).
    #[must_use]
    pub fn out_of_memory(&self) -> Option<OutOfMemory> {
        self.home.memory()?.killed()
    }

    /// Ignores one kill by the OOM killer: its process was not the VMM.
    pub fn forget_kill(&self) {
        if let Some(memory) = self.home.memory() {
            memory.forget_kill();
        }
    }

    fn make_and_enter(&self) -> Result<(), CgroupError> {
        self.home.make()?;
        // The cgroup may have existed before, with kills.
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
    pub fn has_vcpu_cgroup(&self) -> bool {
        self.vcpus.is_some()
    }

    /// Moves the threads of vCPUs into their cgroup, if they have one.
    ///
    /// # Errors
    /// Some of them are still in the VMM's cgroup.
    pub fn move_vcpus(&self, threads: &[u32]) -> Result<(), CgroupError> {
        let Some(vcpus) = &self.vcpus else {
            return Ok(());
        };
        if vcpus.is_v2() {
            warn!(self.log, "vCPUs not moved to the pod's cgroup";
                "reason" => "cgroup v2 keeps the threads of a process together; \
                    sandbox_cgroup_only = true moves the whole VMM there");
            return Ok(());
        }
        threads
            .iter()
            .try_for_each(|thread| vcpus.add_thread(*thread))
    }

    /// Restricts the pod to these CPUs and memory nodes (cpuset(7) lists; empty for all).
    ///
    /// # Errors
    /// The kernel refuses the list.
    pub fn confine(&self, cpus: &str, nodes: &str) -> Result<(), CgroupError> {
        let pod = self.vcpus.as_ref().unwrap_or(&self.home);
        pod.confine(cpus, nodes)
    }

    /// Moves this process back to its former cgroups, kills the processes that are left in the
    /// pod's, and removes these. Returns what failed.
    pub fn leave(&self) -> Vec<CgroupError> {
        let back = {
            let _moving = moving();
            self.previous.enter().err()
        };
        back.into_iter()
            .chain(remove_all(&self.directories()))
            .collect()
    }
}

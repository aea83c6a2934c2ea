//! What the containers of a running pod ask for together, and what is made of it.

use std::{collections::BTreeMap, sync::Arc};

use oci_spec::runtime as host;
use slog::{Logger, warn};
use system::sync::{Mutex, MutexGuard};

use super::{
    Beyond, Demand, ResizeError, RunningSize,
    cgroup::{OutOfMemory, PodCgroups, union},
    oom_score,
};

/// What one container asks for.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
struct Wish {
    demand: Demand,
    cpus: String,
    nodes: String,
    oom_score: Option<i32>,
}

/// The resources of a running pod. Containers that have ended ask for nothing.
pub struct PodResources {
    size: RunningSize,
    /// What the sandbox was announced to need.
    announced: Demand,
    cgroups: Option<Arc<PodCgroups>>,
    wishes: Mutex<BTreeMap<String, Wish>>,
    log: Logger,
}

impl PodResources {
    /// Of a pod whose sandbox was announced to need `announced`.
    pub fn new(
        size: RunningSize,
        announced: Demand,
        cgroups: Option<Arc<PodCgroups>>,
        log: Logger,
    ) -> Self {
        Self {
            size,
            announced,
            cgroups,
            wishes: Mutex::default(),
            log,
        }
    }

    /// Makes room for a container that is about to be made.
    ///
    /// # Errors
    /// The VM is too small and cannot grow.
    pub async fn admit(&self, container: &str, spec: &host::Spec) -> Result<(), ResizeError> {
        self.lock().insert(container.to_owned(), Wish::of(spec));
        let ensured = self.size.ensure(self.demand(), Beyond::Clip).await;
        if ensured.is_err() {
            self.forget(container);
        } else {
            self.apply().await;
        }
        ensured
    }

    /// Makes room for what an update asks for.
    ///
    /// # Errors
    /// The VM is too small and cannot grow; the container's limits stand as they were.
    pub async fn update(
        &self,
        container: &str,
        limits: &host::LinuxResources,
    ) -> Result<(), ResizeError> {
        let Some(before) = self.lock().get(container).cloned() else {
            return Ok(());
        };
        let after = before.updated(limits);
        self.lock().insert(container.to_owned(), after.clone());
        // What was announced is done; only what is new can be refused.
        let grows = after.demand.or(before.demand) != before.demand;
        let beyond = if grows { Beyond::Refuse } else { Beyond::Clip };
        let ensured = self.size.ensure(self.demand(), beyond).await;
        if ensured.is_err() {
            self.lock().insert(container.to_owned(), before);
        } else {
            self.apply().await;
        }
        ensured
    }

    /// A container has ended, or was never made.
    pub fn forget(&self, container: &str) {
        self.lock().remove(container);
    }

    /// Whether the host's OOM killer has been in the pod's cgroup, most likely for its VM.
    pub fn out_of_memory(&self) -> Option<OutOfMemory> {
        self.cgroups.as_ref()?.out_of_memory()
    }

    /// Of all containers.
    fn demand(&self) -> Demand {
        let wishes = self.lock();
        let demands = wishes.values().map(|wish| wish.demand);
        demands
            .fold(Demand::default(), Demand::plus)
            .or(self.announced)
    }

    /// Does on the host what the containers ask for. None of it is worth a container.
    async fn apply(&self) {
        let (scores, cpus, nodes) = {
            let wishes = self.lock();
            let scores: Vec<i32> = wishes.values().filter_map(|wish| wish.oom_score).collect();
            let cpus = union(wishes.values().map(|wish| wish.cpus.as_str()));
            let nodes = union(wishes.values().map(|wish| wish.nodes.as_str()));
            (scores, cpus, nodes)
        };
        let monitor = self.size.monitor();
        let shim = oom_score::of_this_process().unwrap_or_default();
        if let Some(score) = oom_score::of_monitor(scores, shim) {
            oom_score::set(monitor, score, &self.log);
        }
        let Some(cgroups) = &self.cgroups else {
            return;
        };
        if let Err(error) = cgroups.confine(&cpus, &nodes) {
            warn!(self.log, "pod is not confined to its CPUs"; "cpus" => cpus, "error" => %error);
        }
        if cgroups.has_vcpus_apart() {
            self.place_vcpus(cgroups).await;
        }
    }

    /// Also those that were plugged since.
    async fn place_vcpus(&self, cgroups: &PodCgroups) {
        match self.size.vcpu_threads().await {
            Ok(threads) => {
                if let Err(error) = cgroups.place_vcpus(&threads) {
                    warn!(self.log, "vCPUs are not in the pod's cgroup"; "error" => %error);
                }
            }
            Err(error) => {
                warn!(self.log, "vCPUs are not in the pod's cgroup"; "error" => %error);
            }
        }
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<String, Wish>> {
        self.wishes.lock()
    }
}

impl Wish {
    fn of(spec: &host::Spec) -> Self {
        let resources = spec
            .linux()
            .as_ref()
            .and_then(|linux| linux.resources().as_ref());
        let cpu = resources.and_then(|resources| resources.cpu().as_ref());
        let process = spec.process().as_ref();
        Self {
            demand: resources.map(Demand::of_limits).unwrap_or_default(),
            cpus: cpu.and_then(|cpu| cpu.cpus().clone()).unwrap_or_default(),
            nodes: cpu.and_then(|cpu| cpu.mems().clone()).unwrap_or_default(),
            oom_score: process.and_then(|process| process.oom_score_adj()),
        }
    }

    fn updated(&self, limits: &host::LinuxResources) -> Self {
        let cpu = limits.cpu().as_ref();
        let chosen = |list: Option<&String>, before: &String| match list {
            Some(list) if !list.is_empty() => list.clone(),
            _ => before.clone(),
        };
        Self {
            demand: self.demand.updated(limits),
            cpus: chosen(cpu.and_then(|cpu| cpu.cpus().as_ref()), &self.cpus),
            nodes: chosen(cpu.and_then(|cpu| cpu.mems().as_ref()), &self.nodes),
            oom_score: self.oom_score,
        }
    }
}

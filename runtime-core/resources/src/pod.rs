//! The sum of what a pod's containers ask for, and its effects on the VM and on the host.

use std::{collections::BTreeMap, sync::Arc};

use oci_spec::runtime as host;
use slog::{Logger, warn};
use system::{
    error::chain,
    sync::{Mutex, MutexGuard},
};

use super::{
    Beyond, Demand, ResizeError, RunningSize,
    cgroup::{OutOfMemory, PodCgroups, union},
    oom_score,
};

/// What one container asks for.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
struct Request {
    demand: Demand,
    cpus: String,
    nodes: String,
    oom_score: Option<i32>,
}

/// The resources of a running pod. Containers that have ended are not counted.
pub struct PodResources {
    size: RunningSize,
    /// What the sandbox's annotations announced.
    announced: Demand,
    cgroups: Option<Arc<PodCgroups>>,
    requests: Mutex<BTreeMap<String, Request>>,
    log: Logger,
}

impl PodResources {
    /// The resources of a pod whose sandbox's annotations announced `announced`.
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
            requests: Mutex::default(),
            log,
        }
    }

    /// Grows the VM for a container that is about to be created.
    ///
    /// # Errors
    /// The VM is too small and cannot grow.
    pub async fn admit(&self, container: &str, spec: &host::Spec) -> Result<(), ResizeError> {
        self.lock()
            .insert(container.to_owned(), Request::from_spec(spec));
        let ensured = self.size.ensure(self.demand(), Beyond::Clip).await;
        if ensured.is_err() {
            self.forget(container);
        } else {
            self.apply().await;
        }
        ensured
    }

    /// Grows the VM for an update of a container.
    ///
    /// # Errors
    /// The VM is too small and cannot grow; the container's limits are unchanged.
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
        // What was announced is granted; only more than before can be refused.
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

    /// Removes a container that has ended or was not created.
    pub fn forget(&self, container: &str) {
        self.lock().remove(container);
    }

    /// Returns the pod's limit if the host's OOM killer has killed a process in the pod's cgroup,
    /// most likely its VMM.
    pub fn out_of_memory(&self) -> Option<OutOfMemory> {
        self.cgroups.as_ref()?.out_of_memory()
    }

    /// What all containers ask for, at least what was announced.
    fn demand(&self) -> Demand {
        let requests = self.lock();
        let demands = requests.values().map(|request| request.demand);
        demands
            .fold(Demand::default(), Demand::plus)
            .or(self.announced)
    }

    /// Sets OOM score and CPUs on the host. Failures are only logged.
    async fn apply(&self) {
        let (scores, cpus, nodes) = {
            let requests = self.lock();
            let scores: Vec<i32> = requests
                .values()
                .filter_map(|request| request.oom_score)
                .collect();
            let cpus = union(requests.values().map(|request| request.cpus.as_str()));
            let nodes = union(requests.values().map(|request| request.nodes.as_str()));
            (scores, cpus, nodes)
        };
        let shim = oom_score::of_this_process().unwrap_or_default();
        if let Some(score) = oom_score::for_vmm(scores, shim) {
            oom_score::set(self.size.vmm_pid(), score, &self.log);
        }
        let Some(cgroups) = &self.cgroups else {
            return;
        };
        if let Err(error) = cgroups.confine(&cpus, &nodes) {
            warn!(self.log, "CPUs not restricted"; "cpus" => cpus, "error" => chain(&error));
        }
        if cgroups.has_vcpu_cgroup() {
            self.move_vcpus(cgroups).await;
        }
    }

    /// Moves the threads of all vCPUs, including those that were hot-plugged, into their cgroup.
    async fn move_vcpus(&self, cgroups: &PodCgroups) {
        let moved = match self.size.vcpu_threads().await {
            Ok(threads) => cgroups.move_vcpus(&threads).map_err(|error| chain(&error)),
            Err(error) => Err(chain(&error)),
        };
        if let Err(error) = moved {
            warn!(self.log, "vCPUs not moved to the pod's cgroup"; "error" => error);
        }
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<String, Request>> {
        self.requests.lock()
    }
}

impl Request {
    fn from_spec(spec: &host::Spec) -> Self {
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

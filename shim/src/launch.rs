//! From configuration to a VM whose agent answers: find the monitor, decide between restore and
//! boot, start.

use std::{
    path::{Path, PathBuf},
    sync::OnceLock,
    time::Instant,
};

use async_trait::async_trait;
use config::{Config, ConfigError, Shape, Sizing};
use factory::{
    BootReason, Budgets, StartError, StartPlan, StartRecord, StartTally, Started, TemplateStore,
};
use hypervisors::{DiskSlots, Hypervisor, NicSpec, VmSpec};
use resources::{Beyond, Demand, VmSize};
use slog::{Logger, warn};
use system::error::chain;

use crate::{
    timeline::Timeline,
    turn::{Turn, TurnError},
};

/// How many times longer than configured a start may take on a node that has that many times as
/// much to do as it can.
const STRETCH: u32 = 12;

/// A VM that was not started. Nothing of it is left.
#[derive(Debug, thiserror::Error)]
pub enum LaunchError {
    /// The configuration cannot be used.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// The configured monitor cannot be used.
    #[error("The configured monitor cannot be used")]
    Monitor(#[from] hypervisors::Error),
    /// The node had too many others to start.
    #[error(transparent)]
    Turn(#[from] TurnError),
    /// It did not start.
    #[error(transparent)]
    Start(#[from] StartError),
}

/// Starts VMs. Tests put another in the place of [`FromConfig`].
#[async_trait]
pub trait Launch: Send + Sync {
    /// Starts the VM of a sandbox.
    async fn launch(
        &self,
        config: &Config,
        wanted: Wanted<'_>,
        timeline: &mut Timeline,
        log: &Logger,
    ) -> Result<Vm, LaunchError>;
}

/// The VM that a sandbox wants.
#[derive(Debug, Clone, Copy)]
pub struct Wanted<'a> {
    /// The sandbox's id.
    pub id: &'a str,
    /// What its pod asks for.
    pub demand: Demand,
    /// Where its sockets go.
    pub run_dir: &'a Path,
    /// The network namespace of its monitor.
    pub netns: &'a Path,
    /// The NIC that it has from its start.
    pub nic: Option<&'a NicSpec>,
    /// An image that fills a disk slot. If it is known when the VM is specified, the VM has it in its
    /// first slot from its start.
    pub image: &'a OnceLock<PathBuf>,
}

/// A started VM.
pub struct Vm {
    /// The VM.
    pub vm: std::sync::Arc<dyn hypervisors::Vm>,
    /// Its agent.
    pub agent: agent_client::Agent,
    /// How it came to be.
    pub record: StartRecord,
    /// Its size, grown since it was started or not.
    pub shape: Shape,
    /// The disk slots that it was started with.
    pub slots: DiskSlots,
    /// Held until its first container is made: that is work for the node too.
    pub(crate) _turn: Turn,
}

/// Starts what the configuration describes.
pub struct FromConfig;

#[async_trait]
impl Launch for FromConfig {
    async fn launch(
        &self,
        config: &Config,
        wanted: Wanted<'_>,
        timeline: &mut Timeline,
        log: &Logger,
    ) -> Result<Vm, LaunchError> {
        let start = Instant::now();
        let monitor = config.hypervisor.vmm.clone().probe(log).await?;
        let monitor = monitor.as_ref();
        timeline.ended("probe", start);

        let start = Instant::now();
        let sizing = config.sizing();
        let shape = wanted.demand.shape(&sizing).shape;
        let mut base = config.vm_spec(wanted.id, wanted.run_dir);
        base.netns = Some(wanted.netns.to_owned());
        base.nic = wanted.nic.cloned();
        let large = sized(&base, shape);
        let (plan, spec) = choose(config, monitor, &base, &large).await;
        timeline.ended("plan", start);

        let start = Instant::now();
        let turn = Turn::take(&config.runtime.run_root).await?;
        timeline.ended("turn", start);

        let budgets = Budgets {
            agent: config.agent.connect_timeout,
            restore: config.factory.restore_timeout,
            stretch: STRETCH,
        };
        let start = Instant::now();
        let mut slots = base.slots.clone();
        slots.contents = wanted.image.get().cloned().into_iter().collect();
        let filled = |spec: &VmSpec| VmSpec {
            slots: slots.clone(),
            ..spec.clone()
        };
        let mut started = factory::start(plan, monitor, &filled(spec), budgets, log).await?;
        timeline.ended("vm", start);
        if !size_of(&started.record).covers(shape) {
            let start = Instant::now();
            if let Err(reason) = grow(&started, sizing, wanted.demand, log).await {
                let plan = StartPlan::Boot(reason);
                started = factory::start(plan, monitor, &filled(&large), budgets, log).await?;
            }
            timeline.ended("grow", start);
        }
        let Started {
            vm, agent, record, ..
        } = started;
        count(config, wanted.id, &record, log);
        let mut at = start;
        for phase in &record.phases {
            timeline.took(format!("vm.{}", phase.name), at, phase.took);
            at += phase.took;
        }
        Ok(Vm {
            vm,
            agent: agent.with_deadlines(config.agent.deadlines),
            shape: size_of(&record).or(shape),
            slots,
            record,
            _turn: turn,
        })
    }
}

/// Decides between restore and boot. A template that is too small is good for a VM that can grow:
/// that takes a fraction of a boot.
async fn choose<'a>(
    config: &Config,
    monitor: &dyn Hypervisor,
    base: &'a VmSpec,
    large: &'a VmSpec,
) -> (StartPlan, &'a VmSpec) {
    let enabled = config.factory.enable_template;
    let store = TemplateStore::at(&config.factory.template_path);
    let plan = factory::choose(enabled, &store, monitor, large).await;
    let can = monitor.capabilities();
    let grows = !config.runtime.static_sandbox_resource_mgmt
        && (large.vcpus == base.vcpus || can.vcpu_hotplug)
        && (large.memory.mib == base.memory.mib || can.memory_hotplug_beside_file);
    if matches!(plan, StartPlan::Boot(BootReason::Unfit(_))) && large != base && grows {
        let smaller = factory::choose(enabled, &store, monitor, base).await;
        if matches!(smaller, StartPlan::Restore(_)) {
            return (smaller, base);
        }
    }
    (plan, large)
}

fn sized(base: &VmSpec, shape: Shape) -> VmSpec {
    let mut spec = base.clone();
    spec.vcpus = shape.vcpus;
    spec.memory.mib = shape.memory_mib;
    spec
}

fn size_of(record: &StartRecord) -> Shape {
    Shape {
        vcpus: record.shape.vcpus,
        memory_mib: record.shape.memory_mib,
    }
}

/// Lets a VM grow to what its pod needs. One that does not is of no use: it is gone then, and
/// another is to be booted.
async fn grow(
    started: &Started,
    sizing: Sizing,
    demand: Demand,
    log: &Logger,
) -> Result<(), BootReason> {
    let (vm, agent) = (started.vm.clone(), started.agent.clone());
    let size = VmSize::new(vm, agent, sizing, size_of(&started.record), log.clone());
    let Err(error) = size.ensure(demand, Beyond::Clip).await else {
        return Ok(());
    };
    let reason = chain(&error);
    warn!(log, "VM is too small, another is booted"; "reason" => &reason);
    if let Err(error) = started.vm.kill().await {
        warn!(log, "VM may be left behind"; "error" => %error);
    }
    Err(BootReason::NotGrown {
        template_key: started.record.template_key.clone().unwrap_or_default(),
        reason,
    })
}

/// Counts the start for `imprint factory status`, beside whatever comes next.
fn count(config: &Config, id: &str, record: &StartRecord, log: &Logger) {
    let (run_root, id) = (config.runtime.run_root.clone(), id.to_owned());
    let (record, log) = (record.clone(), log.clone());
    tokio::spawn(async move {
        if let Err(error) = StartTally::count(&run_root, &id, &record).await {
            warn!(log, "start was not counted"; "error" => %error);
        }
    });
}

//! From configuration to a VM whose agent answers: find the monitor, decide between restore and
//! boot, start.

use std::{path::Path, time::Instant};

use async_trait::async_trait;
use factory::{Budgets, StartError, StartRecord, StartTally, Started, TemplateStore};
use hypervisors::qemu::Qemu;
use runtime_core::config::{Config, ConfigError};
use slog::{Logger, warn};

use crate::timeline::Timeline;

/// A VM that was not started. Nothing of it is left.
#[derive(Debug, thiserror::Error)]
pub enum LaunchError {
    /// The configuration cannot be used.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// The configured monitor cannot be used.
    #[error("The configured monitor cannot be used")]
    Monitor(#[from] hypervisors::Error),
    /// It did not start.
    #[error(transparent)]
    Start(#[from] StartError),
}

/// Starts VMs. Tests put another in the place of [`FromConfig`].
#[async_trait]
pub trait Launch: Send + Sync {
    /// Starts the VM of sandbox `id`, with its sockets in `run_dir` and its monitor in the network
    /// namespace `netns`.
    async fn launch(
        &self,
        config: &Config,
        id: &str,
        run_dir: &Path,
        netns: &Path,
        timeline: &mut Timeline,
        log: &Logger,
    ) -> Result<Vm, LaunchError>;
}

/// A started VM.
pub struct Vm {
    /// The VM.
    pub vm: std::sync::Arc<dyn hypervisors::Vm>,
    /// Its agent.
    pub agent: agent_client::Agent,
    /// How it came to be.
    pub record: StartRecord,
}

/// Starts what the configuration describes.
pub struct FromConfig;

#[async_trait]
impl Launch for FromConfig {
    async fn launch(
        &self,
        config: &Config,
        id: &str,
        run_dir: &Path,
        netns: &Path,
        timeline: &mut Timeline,
        log: &Logger,
    ) -> Result<Vm, LaunchError> {
        let start = Instant::now();
        let monitor = Qemu::probe(config.qemu(), log).await?;
        timeline.ended("probe", start);

        let start = Instant::now();
        let mut spec = config.vm_spec(id, run_dir);
        spec.netns = Some(netns.to_owned());
        let store = TemplateStore::at(&config.factory.template_path);
        let plan = factory::choose(config.factory.enable_template, &store, &monitor, &spec).await;
        timeline.ended("plan", start);

        let budgets = Budgets {
            agent: config.agent.connect_timeout,
            restore: config.factory.restore_timeout,
        };
        let start = Instant::now();
        let Started {
            vm, agent, record, ..
        } = factory::start(plan, &monitor, &spec, budgets, log).await?;
        timeline.ended("vm", start);
        count(config, id, &record, log);
        let mut at = start;
        for phase in &record.phases {
            timeline.took(format!("vm.{}", phase.name), at, phase.took);
            at += phase.took;
        }
        let agent = agent.with_deadlines(config.agent.deadlines);
        Ok(Vm { vm, agent, record })
    }
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

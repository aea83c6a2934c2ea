//! From configuration to a VM whose agent answers. What is decided and done is `factory::start`'s;
//! here the configuration is put into its terms.

use std::{path::Path, time::Instant};

use async_trait::async_trait;
use config::{Config, ConfigError};
use factory::start::{
    FirstImage, Start, StartCounts, StartError, StartLimit, StartReport, StartStep, Started,
    Timeline,
};
use hypervisors::NicSpec;
use resources::Demand;
use slog::{Logger, warn};

use crate::start_request::start_request;

/// A VM that was not started. Nothing of it is left.
#[derive(Debug, thiserror::Error)]
pub enum LaunchError {
    /// The configuration cannot be used.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// The configured VMM cannot be used.
    #[error("The configured VMM cannot be used")]
    Vmm(#[from] hypervisors::Error),
    /// It did not start.
    #[error(transparent)]
    Start(#[from] StartError),
}

/// Starts VMs. Tests put another in the place of [`FromConfig`].
#[async_trait]
pub trait Launch: Send + Sync {
    /// Starts the VM of a sandbox. Dropped before it is done, it leaves no process.
    ///
    /// # Errors
    /// Nothing is left.
    async fn launch(
        &self,
        config: &Config,
        wanted: Wanted<'_>,
        timeline: &mut Timeline,
        log: &Logger,
    ) -> Result<Started, LaunchError>;
}

/// The VM that a sandbox wants.
#[derive(Debug)]
pub struct Wanted<'a> {
    /// Id of the sandbox; the VM has it too.
    pub id: &'a str,
    /// What its pod asks for.
    pub demand: Demand,
    /// Where its sockets go.
    pub run_dir: &'a Path,
    /// The network namespace of its VMM.
    pub netns: &'a Path,
    /// The NIC that it has from its start.
    pub nic: Option<&'a NicSpec>,
    /// The image of its first container.
    pub first_image: FirstImage,
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
    ) -> Result<Started, LaunchError> {
        let began = Instant::now();
        let vmm = config.hypervisor.vmm.clone().probe(log).await?;
        timeline.ended(StartStep::Probe, began);
        let mut spec = config.vm_spec(wanted.id, wanted.run_dir);
        spec.netns = Some(wanted.netns.to_owned());
        spec.nic = wanted.nic.cloned();
        let size = wanted.demand.size(&config.sizing()).size;
        let start = Start {
            request: &start_request(config, spec, size),
            vmm: vmm.as_ref(),
            log,
        };
        let limit = StartLimit::of_node(&config.runtime.run_root);
        let mut started = start.limited(&limit, wanted.first_image, timeline).await?;
        started.agent = started.agent.with_deadlines(config.agent.deadlines);
        count(config, &started.report, log);
        Ok(started)
    }
}

/// Counts the start for `imprint factory status`, beside whatever comes next.
fn count(config: &Config, report: &StartReport, log: &Logger) {
    let run_root = config.runtime.run_root.clone();
    let (report, log) = (report.clone(), log.clone());
    tokio::spawn(async move {
        if let Err(error) = StartCounts::count(&run_root, &report).await {
            warn!(log, "start was not counted"; "error" => %error);
        }
    });
}

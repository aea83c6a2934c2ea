//! From the configuration to what the commands work on.

use std::path::{Path, PathBuf};

use factory::{Budgets, TemplateStore};
use hypervisors::{Hypervisor, NicSpec, VmSpec};
use runtime_core::{
    config::{Config, ConfigError, NetworkModel, TemplateShape},
    network::{self, NetworkError},
};
use slog::Logger;

/// A configuration that was loaded.
pub(crate) struct Setup {
    pub(crate) config: Config,
    pub(crate) store: TemplateStore,
}

impl Setup {
    pub(crate) fn load(config: Option<&Path>, log: &Logger) -> Result<Self, ConfigError> {
        let config = Config::load(config, log)?;
        let store = TemplateStore::at(&config.factory.template_path);
        Ok(Self { config, store })
    }

    pub(crate) fn enabled(&self) -> bool {
        self.config.factory.enable_template
    }

    pub(crate) async fn monitor(&self, log: &Logger) -> hypervisors::Result<Box<dyn Hypervisor>> {
        self.config.monitor().probe(log).await
    }

    /// The VM of a pod that asks for nothing special and has no network.
    pub(crate) async fn spec(&self) -> Result<VmSpec, NetworkError> {
        let spec = self.config.vm_spec("imprint-factory", &self.run_dir());
        Ok(VmSpec {
            nic: self.nic().await?,
            ..spec
        })
    }

    /// The VMs that templates are made of, smallest first.
    pub(crate) async fn template_specs(&self) -> Result<Vec<VmSpec>, NetworkError> {
        let nic = self.nic().await?;
        let shapes = self.config.factory.shapes.iter();
        let spec = |shape: &TemplateShape| VmSpec {
            nic: nic.clone(),
            ..self.config.template_spec(*shape)
        };
        Ok(shapes.map(spec).collect())
    }

    /// What stands for the first interface of a pod.
    async fn nic(&self) -> Result<Option<NicSpec>, NetworkError> {
        if self.config.runtime.network == NetworkModel::None {
            return Ok(None);
        }
        Ok(Some(network::idle_tap().await?.nic()))
    }

    /// A run directory that no other command uses.
    pub(crate) fn run_dir(&self) -> PathBuf {
        self.config
            .runtime
            .run_root
            .join(format!("verify-{}", std::process::id()))
    }

    pub(crate) fn budgets(&self) -> Budgets {
        Budgets {
            agent: self.config.agent.connect_timeout,
            restore: self.config.factory.restore_timeout,
            ..Budgets::default()
        }
    }
}

//! From the configuration to what the commands work on.

use std::path::{Path, PathBuf};

use factory::{Budgets, TemplateStore};
use hypervisors::{Hypervisor, VmSpec};
use runtime_core::config::{Config, ConfigError};
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

    /// The VM of a pod that asks for nothing special.
    pub(crate) fn spec(&self) -> VmSpec {
        self.config.vm_spec("imprint-factory", &self.run_dir())
    }

    /// The VMs that templates are made of, smallest first.
    pub(crate) fn template_specs(&self) -> Vec<VmSpec> {
        let shapes = self.config.factory.shapes.iter();
        shapes
            .map(|shape| self.config.template_spec(*shape))
            .collect()
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

//! From the configuration to what the commands work on.

use std::path::{Path, PathBuf};

use assembly::start_request;
use config::{Config, ConfigError, NetworkModel};
use factory::{
    TemplateStore,
    start::{Request, Survey},
};
use hypervisors::{Hypervisor, VmSpec};
use network::{Namespace, NetworkError};
use slog::Logger;
use tokio::sync::OnceCell;

/// A configuration that was loaded.
pub(crate) struct Setup {
    pub(crate) config: Config,
    pub(crate) store: TemplateStore,
    /// Where its VMs are in place of a pod's network namespace: nothing is there but their taps.
    nowhere: OnceCell<Namespace>,
}

impl Setup {
    pub(crate) fn load(config: Option<&Path>, log: &Logger) -> Result<Self, ConfigError> {
        let config = Config::load(config, log)?;
        let store = TemplateStore::at(&config.factory.template_path);
        Ok(Self {
            config,
            store,
            nowhere: OnceCell::new(),
        })
    }

    pub(crate) fn enabled(&self) -> bool {
        self.config.factory.enable_template
    }

    pub(crate) async fn vmm(&self, log: &Logger) -> hypervisors::Result<Box<dyn Hypervisor>> {
        self.config.hypervisor.vmm.clone().probe(log).await
    }

    /// The VM of a pod that asks for nothing special and has no network.
    pub(crate) async fn spec(&self) -> Result<VmSpec, NetworkError> {
        let spec = self.config.vm_spec("imprint-factory", &self.run_dir());
        self.connected(spec).await
    }

    /// The VMs that templates are made of, smallest first.
    pub(crate) async fn template_specs(&self) -> Result<Vec<VmSpec>, NetworkError> {
        let mut specs = Vec::new();
        for shape in &self.config.factory.shapes {
            let spec = self.config.template_spec(*shape);
            specs.push(self.connected(spec).await?);
        }
        Ok(specs)
    }

    /// The same VM with what stands for a pod's first interface. A VMM looks for the tap in the
    /// network namespace that it is in.
    async fn connected(&self, mut spec: VmSpec) -> Result<VmSpec, NetworkError> {
        if self.config.runtime.network != NetworkModel::None {
            let make = async || Namespace::unshared();
            let nowhere = self.nowhere.get_or_try_init(make).await?;
            spec.netns = Some(nowhere.descriptor_path());
            spec.nic = Some(nowhere.tap().await?.nic());
        }
        Ok(spec)
    }

    /// A run directory that no other command uses.
    pub(crate) fn run_dir(&self) -> PathBuf {
        self.config
            .runtime
            .run_root
            .join(format!("verify-{}", number()))
    }

    /// What a pod asks for whose VM is that of `spec`.
    pub(crate) fn request(&self, spec: VmSpec) -> Request {
        let size = spec.size();
        start_request(&self.config, spec, size)
    }

    /// The facts of the start of such a pod.
    pub(crate) async fn survey(&self, spec: &VmSpec, vmm: &dyn Hypervisor) -> Survey {
        Survey::of(&self.request(spec.clone()), vmm).await
    }
}

/// A number that no other command on the node has: the one in a pid namespace of its own would be
/// that of a command in another.
fn number() -> u32 {
    system::process::own_number_or_id()
}

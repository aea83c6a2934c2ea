//! Cloud Hypervisor: a monitor process per VM, controlled over its REST API.

mod api;
mod arguments;
mod config;
mod devices;
mod events;
mod launch;
mod nic;
mod probe;
mod resize;
mod restore;
mod saved;
mod version;
mod vm;
mod vm_config;

use std::{path::Path, sync::Arc};

use async_trait::async_trait;

pub use config::ClhConfig;
pub use saved::{InvalidConfig, SAVED_CONFIG, SAVED_STATE, SavedConfig};

use self::{
    api::calls::{VmBoot, VmCreate, VmInfo},
    launch::{Monitor, Program, Sockets},
    restore::Loaded,
    version::Version,
    vm::{ClhVm, Origin},
    vm_config::VmConfig,
};
use crate::{
    AgentChannel, Capabilities, Hypervisor, Identity, PciPath, Result, Vm, VmSpec, check,
    device::check_mac,
};

/// A Cloud Hypervisor that was found on this node and probed.
#[derive(Debug)]
pub struct Clh {
    config: ClhConfig,
    version: Version,
    capabilities: Capabilities,
    identity: Identity,
    log: slog::Logger,
}

impl Clh {
    /// Finds out what the configured Cloud Hypervisor is and what it can do here.
    ///
    /// # Errors
    /// [`Error::Unusable`](crate::Error::Unusable) says what is wrong with the binary.
    pub async fn probe(config: ClhConfig, log: &slog::Logger) -> Result<Self> {
        probe::probe(config, log).await
    }

    /// Starts a monitor without a VM.
    async fn start(&self, spec: &VmSpec) -> Result<Monitor> {
        let log = self.log.new(slog::o!("vm" => spec.id.clone()));
        let arguments = arguments::arguments(&self.config);
        let program = Program {
            binary: &self.identity.binary,
            arguments: &arguments,
            vm: &spec.id,
        };
        let sockets = Sockets::within(&spec.run_dir);
        Monitor::start(program, sockets, spec.netns.as_deref(), &log).await
    }

    /// Checks what holds for a boot and a restore alike.
    fn check(&self, spec: &VmSpec, boots: bool) -> Result<()> {
        check::size_and_name(spec)?;
        let sockets = Sockets::within(&spec.run_dir);
        check::socket(&sockets.api)?;
        check::socket(&sockets.vsock)?;
        if let Some(nic) = &spec.nic {
            check_mac(&nic.mac)?;
        }
        check::payload(&spec.kernel, boots)
    }

    fn vm(
        &self,
        spec: &VmSpec,
        monitor: Monitor,
        nic: Option<PciPath>,
        origin: Origin,
    ) -> Arc<dyn Vm> {
        let channel = AgentChannel::HybridVsock(Sockets::within(&spec.run_dir).vsock);
        Arc::new(ClhVm::new(spec, monitor, channel, nic, origin))
    }
}

/// Makes the VM of `spec` and tells where its network interface is, if it is to have one.
async fn create(monitor: &Monitor, spec: &VmSpec, config: &VmConfig) -> Result<Option<PciPath>> {
    monitor.call(&VmCreate(config)).await?;
    let Some(nic) = &spec.nic else {
        return monitor.call(&VmBoot).await.map(|()| None);
    };
    nic::add(monitor, nic).await?;
    monitor.call(&VmBoot).await?;
    nic::place(Some(nic), &monitor.call(&VmInfo).await?)
}

#[async_trait]
impl Hypervisor for Clh {
    fn capabilities(&self) -> &Capabilities {
        &self.capabilities
    }

    fn identity(&self) -> &Identity {
        &self.identity
    }

    async fn boot(&self, spec: &VmSpec) -> Result<Arc<dyn Vm>> {
        self.check(spec, true)?;
        let config = VmConfig::of(spec, &self.config)?;
        let monitor = self.start(spec).await?;
        match create(&monitor, spec, &config).await {
            Ok(nic) => Ok(self.vm(spec, monitor, nic, Origin::Booted)),
            Err(error) => {
                monitor.process().kill().await?;
                Err(error)
            }
        }
    }

    async fn restore(&self, spec: &VmSpec, saved: &Path) -> Result<Arc<dyn Vm>> {
        self.check(spec, false)?;
        restore::check(spec, saved)?;
        let monitor = self.start(spec).await?;
        match restore::load(&monitor, self.version, spec, saved).await {
            Ok(Loaded { took, nic }) => {
                let saved = saved.to_owned();
                Ok(self.vm(spec, monitor, nic, Origin::Restored { saved, took }))
            }
            Err(error) => {
                monitor.process().kill().await?;
                Err(error)
            }
        }
    }
}

//! Cloud Hypervisor: a monitor process per VM, controlled over its REST API.

mod api;
mod arguments;
mod config;
mod devices;
mod events;
pub(crate) mod launch;
mod nic;
mod probe;
mod resize;
mod restore;
mod saved;
mod saved_state;
mod slots;
mod version;
mod vm;
mod vm_config;

use std::{path::Path, sync::Arc};

use async_trait::async_trait;

pub use config::ClhConfig;
pub use saved::{SAVED_CONFIG, SAVED_STATE};

use self::{
    api::calls::{Info, VmBoot, VmCreate, VmInfo},
    launch::{Monitor, Program, Sockets},
    restore::{Loaded, OwnFiles},
    slots::{MAX_DISK_SLOTS, Prepared},
    version::Version,
    vm::{ClhVm, Given, Origin},
    vm_config::VmConfig,
};
use crate::{
    AgentChannel, Capabilities, Hypervisor, Identity, Result, Vm, VmSpec, check, device::check_mac,
    slots::check_all,
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

    /// Starts a monitor without a VM, and makes ready what the slots of `spec` will show.
    async fn start(&self, spec: &VmSpec) -> Result<(Monitor, Result<Prepared>)> {
        let log = self.log.new(slog::o!("vm" => spec.id.clone()));
        let arguments = arguments::arguments(&self.config);
        let program = Program {
            binary: &self.identity.binary,
            arguments: &arguments,
            vm: &spec.id,
        };
        let sockets = Sockets::within(&spec.run_dir);
        let monitor = Monitor::start(program, sockets, spec.netns.as_deref(), &log);
        let (slots, monitor) = tokio::join!(Prepared::new(spec, &log), monitor);
        Ok((monitor?, slots))
    }

    /// Checks what holds for a boot and a restore alike.
    fn check(&self, spec: &VmSpec, boots: bool) -> Result<()> {
        check::size_and_name(spec)?;
        check_all(&spec.slots, MAX_DISK_SLOTS)?;
        let sockets = Sockets::within(&spec.run_dir);
        check::socket(&sockets.api)?;
        check::socket(&sockets.vsock)?;
        if let Some(nic) = &spec.nic {
            check_mac(&nic.mac)?;
        }
        check::payload(&spec.kernel, boots)
    }
}

/// What a VM has that its monitor has made.
fn given(spec: &VmSpec, slots: Prepared, info: &Info) -> Result<Given> {
    Ok(Given {
        nic: nic::place(spec.nic.as_ref(), info)?,
        slots: slots.placed(info)?,
    })
}

/// The VM that a monitor was to make. One that has made none is ended.
async fn finish(
    spec: &VmSpec,
    monitor: Monitor,
    made: Result<(Given, Origin)>,
) -> Result<Arc<dyn Vm>> {
    match made {
        Ok((given, origin)) => {
            let channel = AgentChannel::HybridVsock(Sockets::within(&spec.run_dir).vsock);
            Ok(Arc::new(ClhVm::new(spec, monitor, channel, given, origin)))
        }
        Err(error) => {
            monitor.process().kill().await?;
            Err(error)
        }
    }
}

/// Makes the VM of `spec`, starts it, and tells what it has.
async fn create(monitor: &Monitor, spec: &VmSpec, config: &VmConfig) -> Result<Info> {
    monitor.call(&VmCreate(config)).await?;
    if let Some(nic) = &spec.nic {
        nic::add(monitor, nic).await?;
    }
    monitor.call(&VmBoot).await?;
    monitor.call(&VmInfo).await
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
        let (monitor, slots) = self.start(spec).await?;
        let made = async {
            let slots = slots?;
            let info = create(&monitor, spec, &config).await?;
            Ok((given(spec, slots, &info)?, Origin::Booted))
        };
        let made = made.await;
        finish(spec, monitor, made).await
    }

    async fn restore(&self, spec: &VmSpec, saved: &Path) -> Result<Arc<dyn Vm>> {
        self.check(spec, false)?;
        let own = OwnFiles::of(spec, saved)?;
        let (monitor, slots) = self.start(spec).await?;
        let made = async {
            let slots = slots?;
            let Loaded { took, info } =
                restore::load(&monitor, self.version, spec, own.dir()).await?;
            let saved = saved.to_owned();
            Ok((given(spec, slots, &info)?, Origin::Restored { saved, took }))
        };
        let made = made.await;
        finish(spec, monitor, made).await
    }
}

//! Cloud Hypervisor: a VMM process per VM, controlled over its REST API.

mod api;
mod arguments;
mod config;
mod devices;
mod disk_slots;
mod events;
mod launch;
mod nic;
pub(crate) mod paths;
mod probe;
mod resize;
mod restore;
mod saved;
mod saved_state;
mod version;
mod vm;
mod vm_config;

use std::{path::Path, sync::Arc};

use async_trait::async_trait;

pub use config::ClhConfig;
pub use saved::{SAVED_CONFIG, SAVED_STATE};

use self::{
    api::calls::{Info, VmBoot, VmCreate, VmInfo},
    disk_slots::{MAX_DISK_SLOTS, PreparedSlots},
    launch::{Program, Vmm},
    paths::Sockets,
    restore::{Loaded, OwnFiles},
    version::Version,
    vm::{ClhVm, InitialDevices, Origin},
    vm_config::VmConfig,
};
use crate::{
    AgentChannel, Capabilities, Hypervisor, Identity, Result, Vm, VmSpec, check, device::check_mac,
    disk_slots::check_all,
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

    /// Starts a VMM without a VM, and makes ready what the slots of `spec` will show.
    async fn start(&self, spec: &VmSpec) -> Result<(Vmm, Result<PreparedSlots>)> {
        let log = self.log.new(slog::o!("vm" => spec.id.clone()));
        let arguments = arguments::arguments(&self.config);
        let program = Program {
            binary: &self.identity.binary,
            arguments: &arguments,
            vm: &spec.id,
        };
        let sockets = Sockets::within(&spec.run_dir);
        let vmm = Vmm::start(program, sockets, spec.netns.as_deref(), &log);
        let (slots, vmm) = tokio::join!(PreparedSlots::new(spec, &log), vmm);
        Ok((vmm?, slots))
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

/// What a VM has that its VMM has made.
fn initial_devices(spec: &VmSpec, slots: PreparedSlots, info: &Info) -> Result<InitialDevices> {
    Ok(InitialDevices {
        nic: nic::place(spec.nic.as_ref(), info)?,
        slots: slots.placed(info)?,
    })
}

/// The VM that a VMM was to make. One that has made none is ended.
async fn finish(
    spec: &VmSpec,
    vmm: Vmm,
    made: Result<(InitialDevices, Origin)>,
) -> Result<Arc<dyn Vm>> {
    match made {
        Ok((initial, origin)) => {
            let channel = AgentChannel::HybridVsock(Sockets::within(&spec.run_dir).vsock);
            Ok(Arc::new(ClhVm::new(spec, vmm, channel, initial, origin)))
        }
        Err(error) => {
            vmm.process().kill().await?;
            Err(error)
        }
    }
}

/// Makes the VM of `spec`, starts it, and returns what it has.
async fn create(vmm: &Vmm, spec: &VmSpec, config: &VmConfig) -> Result<Info> {
    vmm.call(&VmCreate(config)).await?;
    if let Some(nic) = &spec.nic {
        nic::add(vmm, nic).await?;
    }
    vmm.call(&VmBoot).await?;
    vmm.call(&VmInfo).await
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
        let config = VmConfig::new(spec, &self.config)?;
        let (vmm, slots) = self.start(spec).await?;
        let made = async {
            let slots = slots?;
            let info = create(&vmm, spec, &config).await?;
            Ok((initial_devices(spec, slots, &info)?, Origin::Booted))
        };
        let made = made.await;
        finish(spec, vmm, made).await
    }

    async fn restore(&self, spec: &VmSpec, saved: &Path) -> Result<Arc<dyn Vm>> {
        self.check(spec, false)?;
        let own = OwnFiles::of(spec, saved)?;
        let (vmm, slots) = self.start(spec).await?;
        let made = async {
            let slots = slots?;
            let Loaded { took, info } = restore::load(&vmm, self.version, spec, own.dir()).await?;
            let saved = saved.to_owned();
            Ok((
                initial_devices(spec, slots, &info)?,
                Origin::Restored { saved, took },
            ))
        };
        let made = made.await;
        finish(spec, vmm, made).await
    }
}

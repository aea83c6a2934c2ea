//! QEMU: a VMM process per VM, controlled over QMP.

mod check;
pub(crate) mod command_line;
mod config;
mod disk_slots;
mod hotplug;
mod launch;
mod layout;
mod migration;
mod option_line;
mod ports;
mod probe;
mod qmp;
mod resize;
mod vm;

use std::{
    borrow::Cow,
    fs::{self, Permissions},
    os::{fd::OwnedFd, unix::fs::PermissionsExt},
    path::Path,
    sync::Arc,
};

use async_trait::async_trait;
use slog::debug;

pub use config::{
    AcceleratorChoice, ChannelKind, MAX_MEMORY_SLOTS, MAX_PCIE_ROOT_PORTS, QemuConfig,
};
pub use layout::MAX_DISK_SLOTS;

use self::{
    command_line::{Accelerator, Machine, Sockets, Start},
    disk_slots::SlotDisks,
    hotplug::AttachedDevices,
    launch::Vmm,
    ports::Ports,
    resize::Growth,
    vm::{Origin, QemuVm},
};
use crate::{
    AgentChannel, Capabilities, DiskSlots, Error, Hypervisor, Identity, Result, Vm, VmSpec,
};

/// How often another context identifier is tried when one is in use on the host.
const CID_ATTEMPTS: u32 = 4;
/// What QEMU's vhost-vsock device says of an identifier that is in use.
const CID_REFUSED: &str = "unable to set guest cid";

/// A QEMU that was found on this node and probed.
#[derive(Debug)]
pub struct Qemu {
    machine: Machine,
    capabilities: Capabilities,
    identity: Identity,
    log: slog::Logger,
}

impl Qemu {
    /// Finds out what the configured QEMU is and what it can do here.
    ///
    /// # Errors
    /// [`Error::Unusable`] says what is wrong with the binary or with a choice.
    pub async fn probe(config: QemuConfig, log: &slog::Logger) -> Result<Self> {
        probe::probe(config, log).await
    }

    async fn start(&self, spec: &VmSpec, start: Start, origin: Origin) -> Result<QemuVm> {
        let spec = &*self.possible(spec);
        check::check(spec, start)?;
        let mut attempt = 1;
        loop {
            match self.start_once(spec, start, origin.clone()).await {
                Err(Error::Exited { last_words, .. })
                    if last_words.contains(CID_REFUSED) && attempt < CID_ATTEMPTS =>
                {
                    debug!(self.log, "vsock identifier refused"; "reason" => last_words);
                    attempt += 1;
                }
                other => return other,
            }
        }
    }

    /// What `spec` asks for, without disk slots where this QEMU could not fill them.
    fn possible<'a>(&self, spec: &'a VmSpec) -> Cow<'a, VmSpec> {
        let mut spec = Cow::Borrowed(spec);
        if !self.capabilities.disk_slots && spec.slots != DiskSlots::default() {
            spec.to_mut().slots = DiskSlots::default();
        }
        spec
    }

    async fn start_once(&self, spec: &VmSpec, start: Start, origin: Origin) -> Result<QemuVm> {
        let sockets = Sockets::within(&spec.run_dir);
        let channel = match self.machine.config.agent_channel {
            ChannelKind::Serial => AgentChannel::VirtioSerial(sockets.agent.clone()),
            ChannelKind::Vsock => AgentChannel::Vsock { cid: random_cid()? },
        };
        let arguments = command_line::arguments(spec, &self.machine, &channel, start)?;
        let owned = vec![sockets.agent.clone(), sockets.log.clone()];
        let binary = &self.identity.binary;
        let log = self.log.new(slog::o!("vm" => spec.id.clone()));
        let netns = spec.netns.as_deref();
        let (vmm, _) = Vmm::start(binary, &arguments, tap(spec)?, owned, netns, &log).await?;
        let vhost_net = self.machine.accelerator == Accelerator::Kvm;
        let bridges = self.machine.bridge_slots().len() as u32;
        let ports = Ports::new(self.machine.config.pcie_root_ports, bridges);
        let attached = AttachedDevices::new(ports, vhost_net, log);
        let growth = Growth::new(spec, self.machine.config.memory_slots);
        let vm = QemuVm {
            vmm,
            channel,
            sockets,
            attached,
            slots: SlotDisks::new(&spec.slots),
            nic: spec.nic.is_some(),
            growth,
            origin,
        };
        match make_private(&vm) {
            Ok(()) => Ok(vm),
            Err(error) => {
                vm.vmm.process().kill().await?;
                Err(error)
            }
        }
    }
}

#[async_trait]
impl Hypervisor for Qemu {
    fn capabilities(&self) -> &Capabilities {
        &self.capabilities
    }

    fn identity(&self) -> &Identity {
        &self.identity
    }

    async fn boot(&self, spec: &VmSpec) -> Result<Arc<dyn Vm>> {
        Ok(Arc::new(
            self.start(spec, Start::Kernel, Origin::Booted).await?,
        ))
    }

    async fn restore(&self, spec: &VmSpec, saved: &Path) -> Result<Arc<dyn Vm>> {
        let origin = Origin::Restored {
            saved: saved.to_owned(),
            bytes: 0,
        };
        let mut vm = self.start(spec, Start::SavedState, origin).await?;
        match migration::load(&vm.vmm, saved).await {
            Ok(bytes) => {
                vm.origin = Origin::Restored {
                    saved: saved.to_owned(),
                    bytes,
                };
                Ok(Arc::new(vm))
            }
            Err(error) => {
                vm.vmm.process().kill().await?;
                Err(error)
            }
        }
    }
}

/// The VMM's own descriptor of the tap: the caller's may serve another start.
fn tap(spec: &VmSpec) -> Result<Option<OwnedFd>> {
    let nic = spec.nic.as_ref();
    let tap = nic.map(|nic| nic.tap.try_clone()).transpose();
    tap.map_err(|source| Error::Io {
        action: "Passing on a tap of",
        path: spec.run_dir.clone(),
        source,
    })
}

/// QEMU makes its sockets with the modes of our umask; connecting takes write permission.
fn make_private(vm: &QemuVm) -> Result<()> {
    let mut paths = vec![&vm.sockets.log];
    if matches!(vm.channel, AgentChannel::VirtioSerial(_)) {
        paths.push(&vm.sockets.agent);
    }
    for path in paths {
        fs::set_permissions(path, Permissions::from_mode(0o600)).map_err(|source| Error::Io {
            action: "Making private",
            path: path.clone(),
            source,
        })?;
    }
    Ok(())
}

/// A context identifier between the reserved ones (0 to 2, and the largest), see vsock(7).
fn random_cid() -> Result<u32> {
    use std::io::Read;
    let path = Path::new("/dev/urandom");
    let failed = |source| Error::Io {
        action: "Reading",
        path: path.to_owned(),
        source,
    };
    let mut source = fs::File::open(path).map_err(failed)?;
    let mut bytes = [0; 4];
    loop {
        source.read_exact(&mut bytes).map_err(failed)?;
        let cid = u32::from_le_bytes(bytes);
        if (3..u32::MAX).contains(&cid) {
            return Ok(cid);
        }
    }
}

//! A VM of Cloud Hypervisor.

use std::{
    path::{Path, PathBuf},
    time::Duration,
};

use async_trait::async_trait;

use super::{
    api::calls::{VmInfo, VmPause, VmResume},
    devices,
    disk_slots::SlotDisks,
    launch::Vmm,
    resize::{self, Growth},
    restore,
};
use crate::{
    AgentChannel, DiskSpec, Error, NetSpec, PciPath, Result, Vm, VmExit, VmSpec, VmmProcess,
};

/// A VM of Cloud Hypervisor. Dropping it kills the VMM, so a VM lives exactly as long as
/// this value.
#[derive(Debug)]
pub struct ClhVm {
    vmm: Vmm,
    channel: AgentChannel,
    /// Queues of each disk: one for each vCPU it was started with.
    disk_queues: u32,
    growth: Growth,
    initial: InitialDevices,
    origin: Origin,
}

/// The devices that a VM was started with.
#[derive(Debug)]
pub struct InitialDevices {
    /// Where the network interface is, if it has one.
    pub nic: Option<PciPath>,
    pub slots: SlotDisks,
}

/// How a VM came to be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Origin {
    /// It was booted from its kernel.
    Booted,
    /// It was restored from a saved state.
    Restored {
        /// The directory of the saved state.
        saved: PathBuf,
        /// How long the VMM took.
        took: Duration,
    },
}

impl ClhVm {
    /// The VM of `spec` that `vmm` has made.
    pub fn new(
        spec: &VmSpec,
        vmm: Vmm,
        channel: AgentChannel,
        initial: InitialDevices,
        origin: Origin,
    ) -> Self {
        Self {
            vmm,
            channel,
            disk_queues: spec.vcpus,
            growth: Growth::new(spec),
            initial,
            origin,
        }
    }

    async fn state(&self) -> Result<String> {
        Ok(self.vmm.call(&VmInfo).await?.state)
    }

    /// A VM that already is what was asked for refuses to become it.
    async fn unless_already(&self, done: Result<()>, wanted: &str) -> Result<()> {
        match done {
            Err(Error::Refused { .. }) if self.state().await? == wanted => Ok(()),
            other => other,
        }
    }
}

#[async_trait]
impl Vm for ClhVm {
    fn process(&self) -> VmmProcess {
        self.vmm.process().identity()
    }

    fn agent_channel(&self) -> &AgentChannel {
        &self.channel
    }

    fn log_socket(&self) -> Option<&Path> {
        None
    }

    async fn origin(&self) -> Result<String> {
        let state = self.state().await?;
        Ok(match &self.origin {
            Origin::Booted => format!("booted from its kernel, now {state}"),
            Origin::Restored { saved, took } => format!(
                "vm.restore completed in {:.1} ms from {}, now {state}",
                took.as_secs_f64() * 1e3,
                saved.display()
            ),
        })
    }

    async fn pause(&self) -> Result<()> {
        let paused = self.vmm.call(&VmPause).await;
        self.unless_already(paused, "Paused").await
    }

    async fn resume(&self) -> Result<()> {
        let resumed = self.vmm.call(&VmResume).await;
        self.unless_already(resumed, "Running").await
    }

    async fn save(&self, dir: &Path) -> Result<()> {
        restore::save(&self.vmm, dir, self.initial.nic.is_some()).await
    }

    async fn add_disk(&self, disk: &DiskSpec) -> Result<PciPath> {
        devices::add_disk(&self.vmm, disk, self.disk_queues).await
    }

    async fn remove_disk(&self, id: &str) -> Result<()> {
        devices::remove_disk(&self.vmm, id).await
    }

    fn disk_slot(&self, slot: u32) -> Option<PciPath> {
        self.initial.slots.place(slot)
    }

    async fn fill_slot(&self, slot: u32, image: &Path) -> Result<()> {
        self.initial.slots.fill(slot, image).await
    }

    async fn empty_slot(&self, slot: u32) -> Result<()> {
        self.initial.slots.empty(slot).await
    }

    fn nic(&self) -> Option<PciPath> {
        self.initial.nic.clone()
    }

    async fn add_net(&self, net: NetSpec) -> Result<PciPath> {
        devices::add_net(&self.vmm, net).await
    }

    async fn resize_vcpus(&self, vcpus: u32) -> Result<()> {
        self.growth.resize_vcpus(&self.vmm, vcpus).await
    }

    async fn resize_memory(&self, mib: u32) -> Result<u32> {
        self.growth.resize_memory(&self.vmm, mib).await
    }

    async fn vcpu_threads(&self) -> Result<Vec<u32>> {
        resize::vcpu_threads(self.process().pid)
    }

    async fn wait(&self) -> VmExit {
        self.vmm.process().wait().await
    }

    /// SIGKILL at once: what the guest has written to a disk is in the host's page cache already,
    /// and nothing else of a VM outlives it.
    async fn kill(&self) -> Result<()> {
        self.vmm.process().kill().await.map(drop)
    }
}

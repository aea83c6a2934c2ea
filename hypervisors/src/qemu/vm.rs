//! A VM of QEMU.

use std::path::{Path, PathBuf};

use async_trait::async_trait;

use super::{
    command_line::Sockets,
    disk_slots::SlotDisks,
    hotplug::AttachedDevices,
    launch::Vmm,
    layout, migration,
    qmp::command::{Cont, QueryVmGenerationId, Stop},
    resize::{self, Growth},
};
use crate::{AgentChannel, DiskSpec, NetSpec, PciPath, Result, Vm, VmExit, VmmProcess};

/// A VM of QEMU. Dropping it kills QEMU, so a VM lives exactly as long as this value.
#[derive(Debug)]
pub struct QemuVm {
    pub vmm: Vmm,
    /// How the agent is reached.
    pub channel: AgentChannel,
    /// The sockets QEMU made.
    pub sockets: Sockets,
    /// Devices that were attached while it ran.
    pub attached: AttachedDevices,
    /// The disks whose content can be exchanged.
    pub slots: SlotDisks,
    /// Whether it was started with a network interface.
    pub nic: bool,
    /// How far it may grow.
    pub growth: Growth,
    pub origin: Origin,
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
        /// Bytes of the state's file.
        bytes: u64,
    },
}

#[async_trait]
impl Vm for QemuVm {
    fn process(&self) -> VmmProcess {
        self.vmm.process().identity()
    }

    fn agent_channel(&self) -> &AgentChannel {
        &self.channel
    }

    fn log_socket(&self) -> Option<&Path> {
        Some(&self.sockets.log)
    }

    async fn origin(&self) -> Result<String> {
        let status = migration::status(&self.vmm).await?;
        Ok(match (&self.origin, status) {
            (Origin::Booted, _) => String::from("booted from its kernel, no incoming migration"),
            (Origin::Restored { saved, bytes }, status) => format!(
                "incoming migration {} ({bytes} bytes of state from {})",
                status.as_deref().unwrap_or("without status"),
                saved.display()
            ),
        })
    }

    async fn pause(&self) -> Result<()> {
        self.vmm.execute(&Stop {}).await.map(drop)
    }

    async fn resume(&self) -> Result<()> {
        self.vmm.execute(&Cont {}).await.map(drop)
    }

    async fn save(&self, dir: &Path) -> Result<()> {
        migration::save(&self.vmm, dir).await
    }

    async fn add_disk(&self, disk: &DiskSpec) -> Result<PciPath> {
        self.attached.add_disk(&self.vmm, disk).await
    }

    async fn remove_disk(&self, id: &str) -> Result<()> {
        self.attached.remove_disk(&self.vmm, id).await
    }

    fn disk_slot(&self, slot: u32) -> Option<PciPath> {
        (slot < self.slots.count()).then(|| layout::disk_slot_path(slot))
    }

    async fn fill_slot(&self, slot: u32, image: &Path) -> Result<()> {
        self.slots.fill(&self.vmm, slot, image).await
    }

    async fn empty_slot(&self, slot: u32) -> Result<()> {
        self.slots.empty(&self.vmm, slot).await
    }

    fn nic(&self) -> Option<PciPath> {
        self.nic.then(layout::nic_path)
    }

    async fn add_net(&self, net: NetSpec) -> Result<PciPath> {
        self.attached.add_net(&self.vmm, net).await
    }

    async fn resize_vcpus(&self, vcpus: u32) -> Result<()> {
        self.growth.resize_vcpus(&self.vmm, vcpus).await
    }

    async fn resize_memory(&self, mib: u32) -> Result<u32> {
        self.growth.resize_memory(&self.vmm, mib).await
    }

    async fn vcpu_threads(&self) -> Result<Vec<u32>> {
        resize::vcpu_threads(&self.vmm).await
    }

    async fn generation_id(&self) -> Result<Option<String>> {
        let answer = self.vmm.execute(&QueryVmGenerationId {}).await?;
        Ok(Some(answer.guid))
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

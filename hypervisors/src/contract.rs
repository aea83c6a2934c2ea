//! The contract that every VMM fulfils.

use std::{
    path::{Path, PathBuf},
    sync::Arc,
};

use async_trait::async_trait;

use crate::{DiskSpec, Error, Machine, NetSpec, PciPath, Result, VmSpec};

/// A VMM that was found on this node and probed.
#[async_trait]
pub trait Hypervisor: Send + Sync {
    /// What the probed binary can do.
    fn capabilities(&self) -> &Capabilities;

    /// What a saved VM inherits from the VMM and from the machine it ran on.
    fn identity(&self) -> &Identity;

    /// Starts a VM from its kernel. It runs when this returns; its agent need not answer yet.
    ///
    /// On an error no process and no socket is left.
    async fn boot(&self, spec: &VmSpec) -> Result<Arc<dyn Vm>>;

    /// Makes a VM from what [`Vm::save`] wrote into `saved`, and leaves it paused. Nothing in
    /// `saved` changes, so any number of VMs can be restored from it: what a VMM needs to find
    /// there for this one VM alone is written into [`VmSpec::run_dir`] and removed again.
    ///
    /// On an error no process and no socket is left.
    async fn restore(&self, spec: &VmSpec, saved: &Path) -> Result<Arc<dyn Vm>>;
}

/// A VM that exists: a VMM process and what it holds.
#[async_trait]
pub trait Vm: Send + Sync {
    /// The VMM's process, by which it is found again after a crash of the caller.
    fn process(&self) -> VmmProcess;

    /// How the guest's agent is reached.
    fn agent_channel(&self) -> &AgentChannel;

    /// Socket on which the guest's agent writes its log, if the VMM offers one.
    fn log_socket(&self) -> Option<&Path>;

    /// The VMM's own words for how this VM came to be, for an operator: a
    /// restored VM names the completed load of its state.
    async fn origin(&self) -> Result<String>;

    /// Stops the vCPUs. A VM that is paused already stays so.
    async fn pause(&self) -> Result<()>;

    /// Lets the vCPUs run. A VM that runs already goes on.
    async fn resume(&self) -> Result<()>;

    /// Writes the state of a paused VM into `dir`, which must exist. Memory that is file-backed and
    /// shared is not copied: its file is the saved memory.
    async fn save(&self, dir: &Path) -> Result<()>;

    /// Attaches a disk and returns where the guest finds it.
    async fn add_disk(&self, disk: &DiskSpec) -> Result<PciPath>;

    /// Detaches a disk; returns when the guest has released it.
    async fn remove_disk(&self, id: &str) -> Result<()>;

    /// Where the guest finds the disk slot `slot`, counted from 0; `None` if there is no such slot.
    fn disk_slot(&self, _slot: u32) -> Option<PciPath> {
        None
    }

    /// Puts an image into a slot: a regular file of at least the slot's size, which is only read.
    /// The guest notices nothing, so the slot must not be in use there.
    ///
    /// On an error the slot has the content that it had.
    async fn fill_slot(&self, slot: u32, _image: &Path) -> Result<()> {
        Err(not_offered(format!("fill disk slot {slot}")))
    }

    /// Takes the image out of a slot that the guest does not use any more, and closes it. A VMM may
    /// refuse that for an image that was there from the start.
    async fn empty_slot(&self, slot: u32) -> Result<()> {
        Err(not_offered(format!("empty disk slot {slot}")))
    }

    /// Where the guest finds the network interface that the VM was started with; `None` if it was
    /// started without.
    fn nic(&self) -> Option<PciPath> {
        None
    }

    /// Attaches a network interface and returns where the guest finds it.
    async fn add_net(&self, net: NetSpec) -> Result<PciPath>;

    /// Hot-plugs vCPUs until there are `vcpus`, and returns when the guest has reported them, if
    /// the VMM receives such reports. The guest uses them when its agent has brought them online.
    /// Fewer than there are is refused.
    async fn resize_vcpus(&self, vcpus: u32) -> Result<()> {
        Err(not_offered(format!("resize to {vcpus} vCPUs")))
    }

    /// Hot-plugs memory until there are at least `mib` MiB, in steps that the guest can take, and
    /// returns how many MiB there are when the guest has reported them, if the VMM receives such
    /// reports. Less than there is is refused, and so is more where the memory is in a file that
    /// cannot grow.
    async fn resize_memory(&self, mib: u32) -> Result<u32> {
        Err(not_offered(format!("resize to {mib} MiB")))
    }

    /// The VMM's threads that run guest code, one for each vCPU, by their ids on the host.
    async fn vcpu_threads(&self) -> Result<Vec<u32>> {
        Err(not_offered(String::from("list of vCPU threads")))
    }

    /// The generation id that the guest is shown (VMGENID), by which its kernel notices that it is
    /// a clone; `None` where the VMM has no such device.
    async fn generation_id(&self) -> Result<Option<String>> {
        Ok(None)
    }

    /// Waits until the VMM's process has ended, however it ended.
    async fn wait(&self) -> VmExit;

    /// Ends the VMM, by force if it must be, and returns when it is gone.
    async fn kill(&self) -> Result<()>;
}

fn not_offered(request: String) -> Error {
    Error::Refused {
        request,
        reason: String::from("this VMM does not offer it"),
    }
}

/// What a probed VMM can do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Capabilities {
    /// vCPUs can be hot-plugged.
    pub vcpu_hotplug: bool,
    /// Memory can be hot-plugged into a VM whose memory is in a file, as a clone's is.
    pub memory_hotplug_beside_file: bool,
    /// What is in a disk slot can be exchanged while the VM runs.
    pub disk_slots: bool,
    /// A VM can be restored on a private mapping of its memory file.
    pub private_file_restore: bool,
}

/// What a saved VM inherits from its VMM and machine. Two equal identities can exchange saved
/// VMs; each difference is reported by its field's name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Identity {
    /// The VMM: `qemu` or `clh`, see [`VmmKind::id`](crate::VmmKind::id).
    pub vmm: &'static str,
    /// Resolved path of the VMM's binary.
    pub binary: PathBuf,
    /// Version as the binary reports it.
    pub version: String,
    /// The machine that it gives its VMs.
    pub machine: Machine,
    /// CPU model the guest sees, with the host CPU behind it where it is passed through.
    pub cpu: String,
}

/// How the guest's agent is reached.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum AgentChannel {
    /// A virtio-serial port, behind a unix socket of the VMM.
    VirtioSerial(PathBuf),
    /// AF_VSOCK through the host's vhost-vsock.
    Vsock {
        /// The guest's context identifier.
        cid: u32,
    },
    /// A unix socket of the VMM that takes `CONNECT <port>`.
    HybridVsock(PathBuf),
}

/// A process, named so that a reused pid is not mistaken for it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct VmmProcess {
    /// Its number in `/proc`, which need not be of the pid namespace of the process that started
    /// it.
    pub pid: u32,
    /// Field 22 of `/proc/<pid>/stat` (proc_pid_stat(5)): clock ticks between the host's boot and
    /// the start of the process.
    pub start_time: u64,
}

/// How a VMM's process ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct VmExit {
    /// Exit code, or 128 plus the signal's number. `None` when the process was not our child.
    pub code: Option<i32>,
    /// The last lines of the VMM's standard error, bounded and escaped.
    pub last_words: String,
}

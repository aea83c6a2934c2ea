//! The contract every virtual machine monitor fulfils.

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
    sync::Arc,
};

use async_trait::async_trait;

use crate::{DiskSpec, Error, NetSpec, PciPath, Result, VmSpec};

/// A virtual machine monitor that was found on this node and probed.
#[async_trait]
pub trait Hypervisor: Send + Sync {
    /// What the probed binary can do.
    fn capabilities(&self) -> &Capabilities;

    /// What a saved VM inherits from the monitor and from the machine it ran on.
    fn identity(&self) -> &Identity;

    /// Starts a VM from its kernel. It runs when this returns; its agent need not answer yet.
    ///
    /// On an error no process and no socket is left.
    async fn boot(&self, spec: &VmSpec) -> Result<Arc<dyn Vm>>;

    /// Makes a VM from what [`Vm::save`] wrote into `saved`, and leaves it paused. Nothing in `saved`
    /// changes, so any number of VMs can be restored from it: what a VMM needs to find there for this
    /// one VM alone is written into [`VmSpec::run_dir`] and removed again.
    ///
    /// On an error no process and no socket is left.
    async fn restore(&self, spec: &VmSpec, saved: &Path) -> Result<Arc<dyn Vm>>;
}

/// A VM that exists: a monitor process and what it holds.
#[async_trait]
pub trait Vm: Send + Sync {
    /// The monitor's process.
    fn process(&self) -> VmmProcess;

    /// How the guest's agent is reached.
    fn agent_channel(&self) -> &AgentChannel;

    /// Socket on which the guest's agent writes its log, if the monitor offers one.
    fn log_socket(&self) -> Option<&Path>;

    /// The monitor's own words for how this VM came to be, for an operator who wants proof: a
    /// restored VM names the completed load of its state.
    async fn origin(&self) -> Result<String>;

    /// Stops the vCPUs.
    async fn pause(&self) -> Result<()>;

    /// Lets the vCPUs run.
    async fn resume(&self) -> Result<()>;

    /// Writes the state of a paused VM into `dir`, which must exist. Memory that is file-backed and
    /// shared is not copied: its file is the saved memory.
    async fn save(&self, dir: &Path) -> Result<()>;

    /// Plugs a disk and says where the guest finds it.
    async fn add_disk(&self, disk: &DiskSpec) -> Result<PciPath>;

    /// Unplugs a disk; returns when the guest has let go of it.
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

    /// Takes the image out of a slot that the guest does not use any more, and closes it. A monitor may
    /// refuse that for an image that was there from the start.
    async fn empty_slot(&self, slot: u32) -> Result<()> {
        Err(not_offered(format!("empty disk slot {slot}")))
    }

    /// Where the guest finds the network interface that the VM was started with; `None` if it was
    /// started without.
    fn nic(&self) -> Option<PciPath> {
        None
    }

    /// Plugs a network interface and says where the guest finds it.
    async fn add_net(&self, net: NetSpec) -> Result<PciPath>;

    /// Unplugs a network interface; returns when the guest has let go of it.
    async fn remove_net(&self, id: &str) -> Result<()>;

    /// Plugs vCPUs until there are `vcpus`, and returns when the guest has taken note of them, where
    /// the monitor hears of that. They are of no use before the guest's agent has brought them
    /// online. Fewer than there are is refused.
    async fn resize_vcpus(&self, vcpus: u32) -> Result<()> {
        Err(not_offered(format!("resize to {vcpus} vCPUs")))
    }

    /// Plugs memory until there are at least `mib` MiB, in steps that the guest can take, and tells
    /// how much there is when the guest has taken it, where the monitor hears of that. Less than
    /// there is is refused, and so is more where the memory is in a file that cannot grow.
    async fn resize_memory(&self, mib: u32) -> Result<u32> {
        Err(not_offered(format!("resize to {mib} MiB")))
    }

    /// The monitor's threads that run guest code, one for each vCPU, by their ids on the host.
    async fn vcpu_threads(&self) -> Result<Vec<u32>> {
        Err(not_offered(String::from("list of vCPU threads")))
    }

    /// The generation id that the guest is shown (VMGENID), by which its kernel notices that it is a
    /// clone; `None` where the monitor has no such device.
    async fn generation_id(&self) -> Result<Option<String>> {
        Ok(None)
    }

    /// What went through the VM's devices so far, as the monitor counts it.
    async fn counters(&self) -> Result<Counters> {
        Err(not_offered(String::from("count what devices did")))
    }

    /// Waits until the monitor's process has ended, however it ended.
    async fn wait(&self) -> VmExit;

    /// Ends the monitor, by force if it must be, and returns when it is gone.
    async fn kill(&self) -> Result<()>;
}

fn not_offered(request: String) -> Error {
    Error::Refused {
        request,
        reason: String::from("this monitor does not offer it"),
    }
}

/// What a probed monitor can do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Capabilities {
    /// Disks can be plugged into a running VM.
    pub disk_hotplug: bool,
    /// Network interfaces can be plugged into a running VM.
    pub net_hotplug: bool,
    /// vCPUs can be plugged into a running VM.
    pub vcpu_hotplug: bool,
    /// Memory can be plugged into a running VM whose memory is in no file.
    pub memory_hotplug: bool,
    /// Memory can be plugged into a running VM whose memory is in a file, as a clone's is.
    pub memory_hotplug_beside_file: bool,
    /// What is in a disk slot can be exchanged while the VM runs.
    pub disk_slots: bool,
    /// A VM can be restored on a private mapping of its memory file.
    pub private_file_restore: bool,
}

/// Counters of a VM's devices: by device, by name.
pub type Counters = BTreeMap<String, BTreeMap<String, u64>>;

/// What a saved VM inherits from its monitor and machine. Two equal identities can exchange saved
/// VMs; the fields are named so that a difference can be told.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Identity {
    /// `qemu` or `clh`.
    pub monitor: &'static str,
    /// Resolved path of the monitor's binary.
    pub binary: PathBuf,
    /// Version as the binary reports it.
    pub version: String,
    /// Machine type, device model and accelerator, as one stable text.
    pub machine: String,
    /// CPU model the guest sees, with the host CPU behind it where it is passed through.
    pub cpu: String,
}

/// How the guest's agent is reached.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum AgentChannel {
    /// A virtio-serial port, behind a unix socket of the monitor.
    VirtioSerial(PathBuf),
    /// AF_VSOCK through the host's vhost-vsock.
    Vsock {
        /// The guest's context identifier.
        cid: u32,
    },
    /// A unix socket of the monitor that takes `CONNECT <port>`.
    HybridVsock(PathBuf),
}

/// A process, named so that a reused pid is not mistaken for it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct VmmProcess {
    /// Its number in `/proc`, which need not be of the pid namespace of whoever started it.
    pub pid: u32,
    /// Field 22 of `/proc/<pid>/stat` (proc_pid_stat(5)): clock ticks between the host's boot and
    /// the start of the process.
    pub start_time: u64,
}

/// How a monitor's process ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct VmExit {
    /// Exit code, or 128 plus the signal's number. `None` when the process was not our child.
    pub code: Option<i32>,
    /// The last lines of the monitor's standard error, bounded and escaped.
    pub last_words: String,
}

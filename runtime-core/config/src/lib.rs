#![forbid(unsafe_code)]
//! The configuration: Kata's file format and key names, checked before anything is started.
//!
//! [`Config::load`] finds the files, merges them, and refuses unknown keys and invalid values. In
//! what it returns, files exist and numbers are in range. Keys of Kata that ask for something
//! Imprint does not do are refused with the reason; those without effect are accepted with a
//! warning.

mod annotations;
mod assemble;
mod command_line;
mod error;
mod factory;
mod gate;
mod hypervisor;
mod key;
mod keys;
mod nearest;
mod schema;
mod sizing;
mod source;
#[cfg(test)]
mod tests;
mod tree;
mod view;
mod volumes;

use std::{
    path::{Path, PathBuf},
    time::Duration,
};

use hypervisors::{
    DiskSlots, GuestRoot, KernelSpec, MemoryBacking, MemorySpec, VmSize, VmSpec, VmmConfig,
};

pub use annotations::AnnotationError;
pub use error::{ConfigError, Location};
pub use gate::AnnotationGate;
pub use sizing::Sizing;
pub use source::{DEFAULT_FILES, ENVIRONMENT};
pub use volumes::{HostPathPolicy, VolumeSettings};

/// The longest run root, in bytes. With a longer one, the socket paths of a Kubernetes node's
/// sandboxes would be longer than the kernel allows (unix(7)).
pub const RUN_ROOT_MAX: usize = 22;

/// A configuration that was checked.
#[derive(Debug, Clone)]
pub struct Config {
    /// The files it was read from: the main one, links resolved, then the drop-ins.
    pub files: Vec<PathBuf>,
    /// Values that have no effect, each with its file and line.
    pub warnings: Vec<String>,
    /// `[hypervisor.qemu]` or `[hypervisor.clh]`, the one that is chosen.
    pub hypervisor: HypervisorConfig,
    /// Templates: `[factory]`, or the same table within the hypervisor's.
    pub factory: FactoryConfig,
    /// The connection to the guest's agent: `[agent.kata]`.
    pub agent: AgentConfig,
    /// The shim and what is the same for every VMM: `[runtime]`.
    pub runtime: RuntimeConfig,
}

/// The VMM, the guest, and the size of VMs.
#[derive(Debug, Clone)]
pub struct HypervisorConfig {
    /// The VMM and how it is to be run. Its binary exists.
    pub vmm: VmmConfig,
    /// The guest's kernel. It exists.
    pub kernel: PathBuf,
    /// The guest's root file system. It exists.
    pub root: GuestRoot,
    /// File system of an image's first partition.
    pub rootfs_type: RootfsType,
    /// Appended to the kernel's command line.
    pub kernel_params: String,
    /// vCPUs at boot, from 1 to what the host has.
    pub vcpus: u32,
    /// vCPUs at most, from `vcpus` to what the host has.
    pub max_vcpus: u32,
    /// Memory at boot in MiB.
    pub memory_mib: u32,
    /// Memory at most in MiB, when the VM grows with its pod; at least `memory_mib`.
    pub max_memory_mib: u32,
    /// Memory in MiB that the guest keeps for itself when the VM is sized by its pod.
    pub overhead_memory_mib: u32,
    /// vCPUs for the VMM and the guest when the VM is sized by its pod.
    pub overhead_vcpus: f64,
    /// Disk slots of a VM.
    pub disk_slots: u32,
    /// Size of each disk slot in MiB.
    pub disk_slot_mib: u32,
    /// The guest's console is written to a file.
    pub debug: bool,
    /// Which annotations of a pod are honoured.
    pub annotations: AnnotationGate,
}

/// The file system of a guest's root that is a disk image.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RootfsType {
    /// Configured as `rootfs_type = "ext4"`.
    Ext4,
    /// Configured as `rootfs_type = "xfs"`.
    Xfs,
    /// Configured as `rootfs_type = "erofs"`.
    Erofs,
}

/// Whether templates are used, and which are made.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FactoryConfig {
    /// Pods are restored if a template matches.
    pub enable_template: bool,
    /// Directory of all templates; it need not exist.
    pub template_path: PathBuf,
    /// How long a restored VM may take to be ready before its pod boots instead.
    pub restore_timeout: Duration,
    /// The sizes in which templates are made: smallest first, at least one, no duplicates.
    pub shapes: Vec<VmSize>,
}

/// How the guest's agent is reached.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AgentConfig {
    /// The agent logs more.
    pub debug: bool,
    /// Timeout from the VM's start until its agent answers.
    pub connect_timeout: Duration,
    /// Timeouts of the calls to the agent.
    pub deadlines: agent_client::Deadlines,
}

/// The shim, and what is the same for every VMM.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RuntimeConfig {
    /// The shim logs more.
    pub debug: bool,
    /// Directory of all run-time state.
    pub run_root: PathBuf,
    /// Directory of packed root file systems.
    pub rootfs_cache_dir: PathBuf,
    /// Limit of the disk space of packed root file systems, in MiB.
    pub rootfs_cache_mib: u64,
    /// How the mounts of pods reach the guest.
    pub volumes: VolumeSettings,
    /// A container's seccomp profile is not applied in the guest.
    pub disable_guest_seccomp: bool,
    /// How the guest is connected to the sandbox's network namespace.
    pub network: NetworkModel,
    /// The VMM and the shim run in the pod's cgroup, not only the vCPUs.
    pub sandbox_cgroup_only: bool,
    /// A VM is never resized after its start.
    pub static_sandbox_resource_mgmt: bool,
}

/// How the guest is connected to the sandbox's network namespace.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NetworkModel {
    /// Each interface is mirrored to a tap by traffic control filters.
    TcFilter,
    /// The guest has no network interface.
    None,
}

impl Config {
    /// Reads the file named, else the one that [`ENVIRONMENT`] names, else the first of
    /// [`DEFAULT_FILES`] that exists; then `config.d/*.toml` beside it, in lexical order.
    ///
    /// # Errors
    ///
    /// [`ConfigError`], with file and line where there is one.
    pub fn load(explicit: Option<&Path>, log: &slog::Logger) -> Result<Self, ConfigError> {
        let defaults = DEFAULT_FILES.map(Path::new);
        let merged = source::read(explicit, std::env::var_os(ENVIRONMENT), &defaults)?;
        let config = assemble::config(merged, host_cpus())?;
        slog::debug!(log, "configuration read"; "files" => ?config.files);
        for warning in &config.warnings {
            slog::warn!(log, "value ignored"; "reason" => warning);
        }
        Ok(config)
    }

    /// A VM of this configuration, with memory of its own.
    pub fn vm_spec(&self, id: &str, run_dir: &Path) -> VmSpec {
        VmSpec {
            id: id.to_owned(),
            run_dir: run_dir.to_path_buf(),
            vcpus: self.hypervisor.vcpus,
            max_vcpus: self.hypervisor.max_vcpus,
            memory: MemorySpec {
                mib: self.hypervisor.memory_mib,
                max_mib: self
                    .hypervisor
                    .max_memory_mib
                    .max(self.hypervisor.memory_mib),
                backing: MemoryBacking::Anonymous,
            },
            kernel: KernelSpec {
                kernel: self.hypervisor.kernel.clone(),
                root: self.hypervisor.root.clone(),
                command_line: command_line::assemble(&self.hypervisor, self.agent.debug),
            },
            netns: None,
            slots: self.disk_slots(),
            nic: None,
        }
    }

    /// The disk slots of a VM, empty.
    pub fn disk_slots(&self) -> DiskSlots {
        DiskSlots {
            count: self.hypervisor.disk_slots,
            mib: self.hypervisor.disk_slot_mib,
            contents: Vec::new(),
        }
    }

    /// The VM that a template of this shape is made of. Its id and run directory are not used.
    pub fn template_spec(&self, shape: VmSize) -> VmSpec {
        let mut spec = self.vm_spec("template", Path::new("")).with_size(shape);
        spec.memory.max_mib = spec.memory.max_mib.max(shape.memory_mib);
        spec
    }
}

/// CPUs that this process may run on.
fn host_cpus() -> u32 {
    let cpus = std::thread::available_parallelism().map_or(1, usize::from);
    u32::try_from(cpus).unwrap_or(u32::MAX)
}

//! How QEMU is to be run: what an operator may choose.

use std::path::PathBuf;

/// Choices that hold for every VM of one QEMU.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct QemuConfig {
    /// The system emulator, as in `/usr/bin/qemu-system-x86_64`.
    pub binary: PathBuf,
    /// Machine type. It must be of the q35 family: hot-plug needs its PCI Express root ports.
    pub machine_type: String,
    /// Features added to the CPU model, in QEMU's syntax, as in `pmu=off,-avx512f`.
    pub cpu_features: Option<String>,
    /// Places for devices that are attached while a VM runs, at most [`MAX_PCIE_ROOT_PORTS`]. With
    /// none, nothing can be attached; with any, there is room for 62 more behind bridges.
    pub pcie_root_ports: u32,
    /// Slots for hot-plugged memory, at most [`MAX_MEMORY_SLOTS`].
    pub memory_slots: u32,
    /// What executes guest instructions.
    pub accelerator: AcceleratorChoice,
    /// How agents are reached.
    pub agent_channel: ChannelKind,
    /// Whether QEMU confines itself with its seccomp filter.
    pub seccomp: bool,
    /// File that receives what the guest writes to its first serial port, unbounded: for
    /// debugging. A relative path is taken within the VM's run directory.
    pub debug_console: Option<PathBuf>,
    /// File that caches the probe's result until the host boots again. Without it every process
    /// probes for itself.
    pub probe_cache: Option<PathBuf>,
}

/// The most root ports that fit beside the fixed devices.
pub const MAX_PCIE_ROOT_PORTS: u32 = 20;

/// The most memory slots that QEMU's machines have (`ACPI_MAX_RAM_SLOTS`).
pub const MAX_MEMORY_SLOTS: u32 = 256;

/// What executes guest instructions.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum AcceleratorChoice {
    /// KVM where a guest was seen to run under it, TCG otherwise.
    #[default]
    Auto,
    /// KVM, without a check that it runs guests.
    Kvm,
    /// Emulation by QEMU itself.
    Tcg,
}

/// How agents are reached.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum ChannelKind {
    /// Through a virtio-serial port, which only the VMM's user can open.
    #[default]
    Serial,
    /// Through the host's vhost-vsock. Every process of the host can connect to such an agent.
    Vsock,
}

impl Default for QemuConfig {
    fn default() -> Self {
        Self {
            binary: PathBuf::from("/usr/bin/qemu-system-x86_64"),
            machine_type: String::from("q35"),
            cpu_features: None,
            pcie_root_ports: 6,
            memory_slots: 10,
            accelerator: AcceleratorChoice::Auto,
            agent_channel: ChannelKind::Serial,
            seccomp: true,
            debug_console: None,
            probe_cache: None,
        }
    }
}

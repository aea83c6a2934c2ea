//! The keys of `[hypervisor.qemu]` alone.

use hypervisors::qemu::{AcceleratorChoice, ChannelKind, MAX_PCIE_ROOT_PORTS};

use super::{
    super::{
        key::{Choice, Key},
        schema::{
            Kind::{Bool, OneOf, Path, Text, TextList},
            Rule, Section,
        },
    },
    COUNT, empty, fixed,
    hypervisor::{self, NO_CONFIDENTIAL, NO_SHARED_FS},
    number, unused,
};

pub const SECTION: Section = Section {
    name: "[hypervisor.qemu]",
    keys: &[hypervisor::READ, hypervisor::OTHER, READ, OTHER],
};

const NO_VHOST_USER: &str = "disks are not served by other processes";
const NO_NUMA: &str = "guests have one NUMA node";

read_keys! { READ {
    ACCELERATOR: AcceleratorChoice = Key::choice("accelerator");
    AGENT_CHANNEL: ChannelKind = Key::choice("agent_channel");
    MACHINE_TYPE: str = Key::text("machine_type");
    CPU_FEATURES: str = Key::text("cpu_features");
    SECCOMPSANDBOX: str = Key::text("seccompsandbox");
    /// Kata's Rust runtime writes it so.
    SECCOMP_SANDBOX: str = Key::text("seccomp_sandbox").alias();
    PCIE_ROOT_PORT: u64 = Key::count("pcie_root_port", 0, MAX_PCIE_ROOT_PORTS as i64);
} }

impl Choice for AcceleratorChoice {
    const WORDS: &'static [(&'static str, Self)] =
        &[("auto", Self::Auto), ("kvm", Self::Kvm), ("tcg", Self::Tcg)];
}

impl Choice for ChannelKind {
    const WORDS: &'static [(&'static str, Self)] =
        &[("virtio-serial", Self::Serial), ("vsock", Self::Vsock)];
}

const OTHER: &[Rule] = &[
    empty(
        "machine_accelerators",
        Text,
        "the machine is fixed; write \"\", or see accelerator",
    ),
    number("memory_offset", 0, "there is no NVDIMM; write 0"),
    unused(
        "block_device_aio",
        OneOf(|| vec!["threads", "native", "io_uring"]),
        "it is chosen for you",
    ),
    fixed(
        "block_device_cache_noflush",
        false,
        "disks keep what was flushed; write false",
    ),
    fixed(
        "enable_iothreads",
        false,
        "there are no I/O threads; write false",
    ),
    number("indep_iothreads", 0, "there are no I/O threads; write 0"),
    unused("msize_9p", COUNT, NO_SHARED_FS),
    unused("disable_vhost_net", Bool, "it is chosen for you"),
    fixed(
        "enable_vhost_user_store",
        false,
        "disks are not served by other processes; write false",
    ),
    unused("vhost_user_store_path", Path, NO_VHOST_USER),
    unused("valid_vhost_user_store_paths", TextList, NO_VHOST_USER),
    unused("vhost_user_reconnect_timeout_sec", COUNT, NO_VHOST_USER),
    fixed(
        "enable_iommu_platform",
        false,
        "the guest has no IOMMU; write false",
    ),
    fixed(
        "enable_numa",
        false,
        "guests have one NUMA node; write false",
    ),
    unused("numa_mapping", TextList, NO_NUMA),
    number(
        "pcie_switch_port",
        0,
        "devices are attached to root ports; write 0",
    ),
    empty(
        "pflashes",
        TextList,
        "the kernel is booted directly; write []",
    ),
    empty(
        "firmware_volume",
        Path,
        "the kernel is booted directly; write \"\"",
    ),
    empty(
        "file_mem_backend",
        Path,
        "memory is anonymous or the template's; write \"\"",
    ),
    unused(
        "valid_file_mem_backends",
        TextList,
        "memory is anonymous or the template's",
    ),
    empty(
        "guest_memory_dump_path",
        Path,
        "guests are not dumped; write \"\"",
    ),
    fixed(
        "guest_memory_dump_paging",
        false,
        "guests are not dumped; write false",
    ),
    fixed(
        "use_legacy_serial",
        false,
        "the agent has a port of its own; write false",
    ),
    empty(
        "extra_monitor_socket",
        Text,
        "the VMM has one socket; write \"\"",
    ),
    unused(
        "disable_nesting_checks",
        Bool,
        "KVM is tried before it is used",
    ),
    fixed("sev_snp_guest", false, NO_CONFIDENTIAL),
    empty("measurement_algo", Text, NO_CONFIDENTIAL),
];

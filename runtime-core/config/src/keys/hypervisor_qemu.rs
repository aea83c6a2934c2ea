//! The keys of `[hypervisor.qemu]` alone.

use super::{
    super::schema::{
        Key,
        Kind::{Bool, Int, OneOf, Path, Text, TextList},
        Section,
    },
    COUNT, empty, fixed,
    hypervisor::{COMMON, NO_CONFIDENTIAL, NO_SHARED_FS},
    number, read, unused,
};

pub const QEMU: Section = Section {
    name: "[hypervisor.qemu]",
    keys: &[COMMON, KEYS],
    tables: &["factory"],
};

/// What `pcie_root_port` may be at most.
pub const MAX_ROOT_PORTS: u32 = hypervisors::qemu::MAX_PCIE_ROOT_PORTS;

const NO_VHOST_USER: &str = "disks are not served by other processes";
const NO_NUMA: &str = "guests have one NUMA node";

const KEYS: &[Key] = &[
    read("accelerator", OneOf(&["auto", "kvm", "tcg"])),
    read("agent_channel", OneOf(&["virtio-serial", "vsock"])),
    read("machine_type", Text),
    read("cpu_features", Text),
    read("seccompsandbox", Text),
    read("seccomp_sandbox", Text),
    read("pcie_root_port", Int(0, MAX_ROOT_PORTS as i64)),
    empty(
        "machine_accelerators",
        Text,
        "the machine is fixed; write \"\", or see accelerator",
    ),
    number("memory_offset", 0, "there is no NVDIMM; write 0"),
    unused(
        "block_device_aio",
        OneOf(&["threads", "native", "io_uring"]),
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
        "devices are plugged into root ports; write 0",
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
        "the monitor has one socket; write \"\"",
    ),
    unused(
        "disable_nesting_checks",
        Bool,
        "KVM is tried before it is used",
    ),
    fixed("sev_snp_guest", false, NO_CONFIDENTIAL),
    empty("measurement_algo", Text, NO_CONFIDENTIAL),
];

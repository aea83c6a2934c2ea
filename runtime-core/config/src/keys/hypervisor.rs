//! The keys that all hypervisors share.

use std::path::Path as FilePath;

use hypervisors::qemu::{MAX_DISK_SLOTS, MAX_MEMORY_SLOTS};

use super::{
    super::{
        RootfsType,
        key::{Choice, Key},
        schema::{
            Kind::{Bool, Path, Text, TextList},
            Rule,
        },
        tree::Table,
    },
    COUNT, empty, fixed, number, unused, words,
};

/// The most memory that a VM can be given, in MiB: 4 TiB.
pub const MAX_MEMORY_MIB: u32 = 4 << 20;
/// What `disk_slot_mib` may be at most: 1 TiB, as a sparse file every file system takes.
const MAX_DISK_SLOT_MIB: u32 = 1 << 20;
pub const NO_SHARED_FS: &str = "there is no shared file system";
const NO_SWAP: &str = "the guest has no swap; write false";
pub const NO_CONFIDENTIAL: &str = "confidential guests cannot be restored from a shared template; \
    remove the key";
const NO_RATE_LIMIT: &str = "disks and interfaces are not limited; write 0";
const NO_ANNOTATION: &str = "the annotation that it governs is not honoured";
const NO_VFIO: &str = "devices of the host are not passed to guests; write \"no-port\"";

read_keys! { READ {
    PATH: FilePath = Key::path("path");
    KERNEL: FilePath = Key::path("kernel");
    INITRD: FilePath = Key::path("initrd");
    IMAGE: FilePath = Key::path("image");
    ROOTFS_TYPE: RootfsType = Key::choice("rootfs_type");
    KERNEL_PARAMS: str = Key::text("kernel_params");
    ENABLE_ANNOTATIONS: [String] = Key::texts("enable_annotations");
    DEFAULT_VCPUS: f64 = Key::number("default_vcpus");
    DEFAULT_MAXVCPUS: u64 = Key::count("default_maxvcpus", 0, i64::MAX);
    DEFAULT_MEMORY: u64 = Key::count("default_memory", 64, MAX_MEMORY_MIB as i64);
    DEFAULT_MAXMEMORY: u64 = Key::count("default_maxmemory", 0, i64::MAX);
    ENABLE_DEBUG: bool = Key::switch("enable_debug");
    OVERHEAD_VCPUS: f64 = Key::number("overhead_vcpus");
    OVERHEAD_MEMORY: f64 = Key::number("overhead_memory");
    DISK_SLOTS: u64 = Key::count("disk_slots", 0, MAX_DISK_SLOTS as i64);
    DISK_SLOT_MIB: u64 = Key::count("disk_slot_mib", 1, MAX_DISK_SLOT_MIB as i64);
    MEMORY_SLOTS: u64 = Key::count("memory_slots", 0, MAX_MEMORY_SLOTS as i64);
    /// Kata's Rust runtime has the factory here, its Go runtime at the top.
    FACTORY: Table = Key::table("factory");
} }
impl Choice for RootfsType {
    const WORDS: &'static [(&'static str, Self)] = &[
        ("ext4", Self::Ext4),
        ("xfs", Self::Xfs),
        ("erofs", Self::Erofs),
    ];
}

/// All other keys of every VMM.
pub const OTHER: &[Rule] = &[
    words(
        "shared_fs",
        &["none"],
        "a VM restored from a template cannot share a directory with the host, since the other \
         side would not see the clone's private memory; root file systems are passed as disks. \
         Write shared_fs = \"none\" or remove the key",
    ),
    unused("virtio_fs_daemon", Path, NO_SHARED_FS),
    unused("valid_virtio_fs_daemon_paths", TextList, NO_SHARED_FS),
    unused("virtio_fs_cache", Text, NO_SHARED_FS),
    unused("virtio_fs_cache_size", COUNT, NO_SHARED_FS),
    unused("virtio_fs_queue_size", COUNT, NO_SHARED_FS),
    unused("virtio_fs_extra_args", TextList, NO_SHARED_FS),
    unused(
        "disable_block_device_use",
        Bool,
        "root file systems are always passed as disks",
    ),
    unused("block_device_driver", Text, "disks are always virtio-blk"),
    fixed(
        "block_device_cache_set",
        false,
        "disks use the host's page cache; write false",
    ),
    fixed(
        "block_device_cache_direct",
        false,
        "disks use the host's page cache; write false",
    ),
    number(
        "block_device_logical_sector_size",
        0,
        "disks have the sectors of their files; write 0",
    ),
    number(
        "block_device_physical_sector_size",
        0,
        "disks have the sectors of their files; write 0",
    ),
    unused(
        "num_queues",
        COUNT,
        "the number of queues is chosen for you",
    ),
    unused("queue_size", COUNT, "the size of queues is chosen for you"),
    unused(
        "network_queues",
        COUNT,
        "the number of queues is chosen for you",
    ),
    unused(
        "disable_image_nvdimm",
        Bool,
        "an image is always attached as a disk",
    ),
    unused(
        "vm_rootfs_driver",
        Text,
        "an image is always attached as a disk",
    ),
    empty(
        "kernel_verity_params",
        Text,
        "an image is not verified at boot; write \"\"",
    ),
    empty(
        "firmware",
        Path,
        "the kernel is booted directly; write \"\"",
    ),
    fixed(
        "rootless",
        false,
        "the VMM runs as the shim's user; write false",
    ),
    unused("disable_selinux", Bool, "processes are not labelled"),
    fixed(
        "disable_guest_selinux",
        true,
        "containers are not labelled in the guest; write true",
    ),
    fixed(
        "enable_virtio_mem",
        false,
        "memory is hot-plugged as DIMMs; write false",
    ),
    fixed(
        "enable_mem_prealloc",
        false,
        "memory is shared with the template until it is written to; write false",
    ),
    fixed(
        "enable_hugepages",
        false,
        "templates live on tmpfs; write false",
    ),
    fixed(
        "reclaim_guest_freed_memory",
        false,
        "there is no balloon; write false",
    ),
    unused(
        "default_bridges",
        COUNT,
        "devices are attached to PCI Express root ports",
    ),
    fixed("enable_iommu", false, "the guest has no IOMMU; write false"),
    words("hot_plug_vfio", &["no-port", ""], NO_VFIO),
    words("cold_plug_vfio", &["no-port", ""], NO_VFIO),
    words(
        "entropy_source",
        &["/dev/urandom", "/dev/random", ""],
        "guests get the host kernel's own entropy; write \"/dev/urandom\"",
    ),
    unused("valid_entropy_sources", TextList, NO_ANNOTATION),
    unused("valid_hypervisor_paths", TextList, NO_ANNOTATION),
    unused("valid_ctlpaths", TextList, NO_ANNOTATION),
    unused("valid_jailer_paths", TextList, NO_ANNOTATION),
    unused("ctlpath", Path, "nothing uses it"),
    empty("jailer_path", Path, "there is no jailer; write \"\""),
    empty(
        "guest_hook_path",
        Path,
        "hooks of the guest are not run; write \"\"",
    ),
    fixed("enable_guest_swap", false, NO_SWAP),
    unused("guest_swap_path", Path, "the guest has no swap"),
    unused("guest_swap_size_percent", COUNT, "the guest has no swap"),
    unused(
        "guest_swap_create_threshold_secs",
        COUNT,
        "the guest has no swap",
    ),
    unused(
        "hypervisor_loglevel",
        COUNT,
        "the messages of the VMM are always logged",
    ),
    fixed("confidential_guest", false, NO_CONFIDENTIAL),
    number("disk_rate_limiter_bw_max_rate", 0, NO_RATE_LIMIT),
    number("disk_rate_limiter_bw_one_time_burst", 0, NO_RATE_LIMIT),
    number("disk_rate_limiter_ops_max_rate", 0, NO_RATE_LIMIT),
    number("disk_rate_limiter_ops_one_time_burst", 0, NO_RATE_LIMIT),
    number("net_rate_limiter_bw_max_rate", 0, NO_RATE_LIMIT),
    number("net_rate_limiter_bw_one_time_burst", 0, NO_RATE_LIMIT),
    number("net_rate_limiter_ops_max_rate", 0, NO_RATE_LIMIT),
    number("net_rate_limiter_ops_one_time_burst", 0, NO_RATE_LIMIT),
    number("rx_rate_limiter_max_rate", 0, NO_RATE_LIMIT),
    number("tx_rate_limiter_max_rate", 0, NO_RATE_LIMIT),
];

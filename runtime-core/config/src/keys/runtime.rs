//! The keys of `[runtime]` and of `[factory]`.

use super::{
    super::schema::{
        Key,
        Kind::{Bool, Int, OneOf, Path, Text, TextList},
        Section,
    },
    COUNT, MAX_MEMORY_MIB, empty, fixed, number, read, unused, words,
};

/// Kata's Go runtime has the factory at the top.
pub const FACTORY: Section = Section {
    name: "[factory]",
    keys: &[FACTORY_KEYS],
    tables: &["shape"],
};
/// Kata's Rust runtime has it within the hypervisor.
pub const QEMU_FACTORY: Section = Section {
    name: "[hypervisor.qemu.factory]",
    keys: &[FACTORY_KEYS],
    tables: &["shape"],
};
/// As [`QEMU_FACTORY`].
pub const CLH_FACTORY: Section = Section {
    name: "[hypervisor.clh.factory]",
    keys: &[FACTORY_KEYS],
    tables: &["shape"],
};

/// A size that a template is made in.
pub const FACTORY_SHAPE: Section = Section {
    name: "[[factory.shape]]",
    keys: &[SHAPE_KEYS],
    tables: &[],
};

const SHAPE_KEYS: &[Key] = &[
    read("vcpus", Int(1, 256)),
    read("memory", Int(64, MAX_MEMORY_MIB as i64)),
];

const FACTORY_KEYS: &[Key] = &[
    read("enable_template", Bool),
    read("template_path", Path),
    read("restore_timeout_ms", Int(100, 10 * 60 * 1000)),
    number(
        "vm_cache_number",
        0,
        "VMs are not kept waiting; write 0, and see enable_template",
    ),
    unused("vm_cache_endpoint", Path, "VMs are not kept waiting"),
];

pub const RUNTIME: Section = Section {
    name: "[runtime]",
    keys: &[OWN, KATA],
    tables: &[],
};

const OWN: &[Key] = &[
    read("run_root", Path),
    read("rootfs_cache_dir", Path),
    read("rootfs_cache_mib", Int(1, 1 << 40)),
    read("host_path_volumes", OneOf(&["copy", "refuse"])),
    read("host_path_copy_limit_mib", Int(0, 1 << 20)),
    read("host_block_devices", Bool),
];

const NO_TRACING: &str = "calls are not traced";

const KATA: &[Key] = &[
    read("enable_debug", Bool),
    read("hypervisor_name", OneOf(&["qemu", "clh"])),
    read("internetworking_model", OneOf(&["tcfilter", "none"])),
    read("disable_guest_seccomp", Bool),
    read("create_container_timeout", Int(1, 24 * 60 * 60)),
    unused("name", Text, "there is one runtime"),
    words(
        "agent_name",
        &["kata"],
        "there is one agent; write \"kata\"",
    ),
    fixed(
        "disable_new_netns",
        false,
        "a sandbox is always in its own namespace; write false",
    ),
    empty(
        "guest_selinux_label",
        Text,
        "containers are not labelled in the guest; write \"\"",
    ),
    fixed(
        "enable_vcpus_pinning",
        false,
        "vCPUs are not pinned; write false",
    ),
    read("sandbox_cgroup_only", Bool),
    read("static_sandbox_resource_mgmt", Bool),
    empty(
        "sandbox_bind_mounts",
        TextList,
        "there is no shared file system; write []",
    ),
    words(
        "vfio_mode",
        &["guest-kernel"],
        "devices of the host are not passed to guests; write \"guest-kernel\"",
    ),
    unused(
        "disable_guest_empty_dir",
        Bool,
        "there is one way to make an emptyDir",
    ),
    unused(
        "emptydir_mode",
        Text,
        "there is one way to make an emptyDir",
    ),
    empty(
        "experimental",
        TextList,
        "there are no experiments; write []",
    ),
    fixed("enable_pprof", false, "there are no profiles; write false"),
    unused(
        "dan_conf",
        Path,
        "devices are attached by the network plugin alone",
    ),
    read("kubelet_root_dir", Path),
    empty(
        "pod_resource_api_sock",
        Path,
        "devices are not passed to guests; write \"\"",
    ),
    fixed("enable_tracing", false, "calls are not traced; write false"),
    unused("jaeger_endpoint", Text, NO_TRACING),
    unused("jaeger_user", Text, NO_TRACING),
    unused("jaeger_password", Text, NO_TRACING),
    fixed(
        "keep_abnormal",
        false,
        "what failed is always removed; write false",
    ),
    fixed(
        "use_passfd_io",
        false,
        "output comes through the agent's channel; write false",
    ),
    unused(
        "passfd_listener_port",
        COUNT,
        "output comes through the agent's channel",
    ),
];

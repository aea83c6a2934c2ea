//! The keys of `[runtime]`.

use std::path::Path as FilePath;

use hypervisors::VmmKind;

use super::{
    super::{
        NetworkModel,
        key::{Choice, Key},
        schema::{
            Kind::{Bool, Path, Text, TextList},
            Rule, Section,
        },
    },
    COUNT, empty, fixed, unused, words,
};
use crate::HostPathPolicy;

pub const SECTION: Section = Section {
    name: "[runtime]",
    keys: &[READ, OTHER],
};

read_keys! { READ {
    RUN_ROOT: FilePath = Key::path("run_root");
    ROOTFS_CACHE_DIR: FilePath = Key::path("rootfs_cache_dir");
    ROOTFS_CACHE_MIB: u64 = Key::count("rootfs_cache_mib", 1, 1 << 40);
    HOST_PATH_VOLUMES: HostPathPolicy = Key::choice("host_path_volumes");
    HOST_PATH_COPY_LIMIT_MIB: u64 = Key::count("host_path_copy_limit_mib", 0, 1 << 20);
    HOST_BLOCK_DEVICES: bool = Key::switch("host_block_devices");
    ENABLE_DEBUG: bool = Key::switch("enable_debug");
    HYPERVISOR_NAME: VmmKind = Key::choice("hypervisor_name");
    INTERNETWORKING_MODEL: NetworkModel = Key::choice("internetworking_model");
    DISABLE_GUEST_SECCOMP: bool = Key::switch("disable_guest_seccomp");
    CREATE_CONTAINER_TIMEOUT: u64 = Key::count("create_container_timeout", 1, 24 * 60 * 60);
    SANDBOX_CGROUP_ONLY: bool = Key::switch("sandbox_cgroup_only");
    STATIC_SANDBOX_RESOURCE_MGMT: bool = Key::switch("static_sandbox_resource_mgmt");
    KUBELET_ROOT_DIR: FilePath = Key::path("kubelet_root_dir");
} }

impl Choice for HostPathPolicy {
    const WORDS: &'static [(&'static str, Self)] =
        &[("copy", Self::Copy), ("refuse", Self::Refuse)];
}

impl Choice for NetworkModel {
    const WORDS: &'static [(&'static str, Self)] =
        &[("tcfilter", Self::TcFilter), ("none", Self::None)];
}

const NO_TRACING: &str = "calls are not traced";

const OTHER: &[Rule] = &[
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

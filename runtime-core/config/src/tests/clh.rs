//! Cloud Hypervisor's section, and files as Kata's operators have them.

use std::path::{Path, PathBuf};

use hypervisors::{GuestRoot, VmmConfig, clh::ClhConfig};

use super::Node;

const LEAST: &str = "[hypervisor.clh]
path = \"@/qemu\"
kernel = \"@/vmlinux\"
image = \"@/image.raw\"
";

/// The keys and values of Kata's Go runtime for Cloud Hypervisor; only the three paths that have to
/// exist, and the shared file system, are not its own.
const KATA_GO: &str = r#"
[hypervisor.clh]
path = "@/qemu"
kernel = "@/vmlinux"
image = "@/image.raw"
rootfs_type = "ext4"
disable_selinux = false
disable_guest_selinux = true
enable_annotations = ["enable_iommu", "virtio_fs_extra_args", "kernel_params"]
valid_hypervisor_paths = ["/usr/bin/cloud-hypervisor"]
kernel_params = ""
default_vcpus = 1
default_maxvcpus = 0
default_memory = 2048
default_maxmemory = 0
shared_fs = "SHARED"
virtio_fs_daemon = "/usr/libexec/virtiofsd"
valid_virtio_fs_daemon_paths = ["/usr/libexec/virtiofsd"]
virtio_fs_cache_size = 0
virtio_fs_queue_size = 1024
virtio_fs_extra_args = ["--thread-pool-size=1", "--announce-submounts"]
virtio_fs_cache = "auto"
block_device_driver = "virtio-blk"
disable_block_device_use = false
block_device_cache_direct = false
enable_hugepages = false
reclaim_guest_freed_memory = false
disable_seccomp = true
enable_debug = false
hypervisor_loglevel = 1
hot_plug_vfio = "no-port"
cold_plug_vfio = "no-port"
guest_hook_path = ""
net_rate_limiter_bw_max_rate = 0
net_rate_limiter_bw_one_time_burst = 0
net_rate_limiter_ops_max_rate = 0
net_rate_limiter_ops_one_time_burst = 0
disk_rate_limiter_bw_max_rate = 0
disk_rate_limiter_bw_one_time_burst = 0
disk_rate_limiter_ops_max_rate = 0
disk_rate_limiter_ops_one_time_burst = 0

[factory]
enable_template = true
template_path = "/run/vc/vm/template"
vm_cache_number = 0
vm_cache_endpoint = "/var/run/kata-containers/cache.sock"

[agent.kata]
enable_debug = false
enable_tracing = false
kernel_modules = []
debug_console_enabled = false
dial_timeout = 45
cdh_api_timeout = 50

[runtime]
enable_debug = false
internetworking_model = "tcfilter"
disable_guest_seccomp = true
enable_tracing = false
jaeger_endpoint = ""
jaeger_user = ""
jaeger_password = ""
disable_new_netns = false
sandbox_cgroup_only = false
static_sandbox_resource_mgmt = false
sandbox_bind_mounts = []
vfio_mode = "guest-kernel"
disable_guest_empty_dir = false
experimental = []
enable_pprof = false
create_container_timeout = 60
dan_conf = "/run/kata-containers/dans"
enable_vcpus_pinning = false
guest_selinux_label = ""
"#;

fn clh(vmm: VmmConfig) -> ClhConfig {
    match vmm {
        VmmConfig::Clh(config) => config,
        VmmConfig::Qemu(config) => panic!("{config:?}"),
    }
}

#[test]
fn the_least_gets_the_defaults() {
    let node = Node::new();
    let config = node.load(LEAST).unwrap();
    assert_eq!(config.warnings, [""; 0]);
    let spec = config.vm_spec("a", Path::new("/run/a"));
    assert_eq!(spec.kernel.root, GuestRoot::Image(node.path("image.raw")));
    let defaults = ClhConfig {
        binary: node.path("qemu"),
        probe_cache: Some(PathBuf::from("/run/imprint/clh-probe.json")),
        ..ClhConfig::default()
    };
    assert_eq!(clh(config.hypervisor.vmm), defaults);
}

#[test]
fn what_is_chosen_reaches_the_vmm() {
    let node = Node::new();
    let chosen = "disable_seccomp = true\ndisable_nested_virtualization = true\n\
        enable_debug = true\nenable_landlock = true\nlandlock_paths = [\"/dev/mapper\"]\n\
        [runtime]\nrun_root = \"/run/two\"\n";
    let config = node.load(&format!("{LEAST}{chosen}")).unwrap();
    let clh = clh(config.hypervisor.vmm);
    assert!(!clh.seccomp && !clh.nested);
    assert_eq!(clh.verbosity, 2);
    assert_eq!(clh.debug_console, Some(PathBuf::from("console.log")));
    let below = ["/var/lib/imprint/rootfs", "/run/two", "/dev/mapper"];
    assert_eq!(clh.landlock, Some(below.map(PathBuf::from).to_vec()));
}

#[test]
fn a_file_of_kata_is_accepted_once_nothing_is_to_be_shared() {
    let node = Node::new();
    let config = node.load(&KATA_GO.replace("SHARED", "none")).unwrap();
    assert!(config.factory.enable_template);
    assert!(!clh(config.hypervisor.vmm).seccomp);
    assert!(
        config
            .warnings
            .iter()
            .all(|words| words.contains("has no effect")),
        "{:#?}",
        config.warnings
    );
}

#[test]
fn a_shared_file_system_is_refused_with_what_to_write_instead() {
    let node = Node::new();
    for shared in ["virtio-fs", "virtio-fs-nydus", "virtio-9p"] {
        let said = node.complaint(&KATA_GO.replace("SHARED", shared));
        assert!(
            said.starts_with("@/configuration.toml:16: shared_fs = "),
            "{said}"
        );
        assert!(said.contains("Write shared_fs = \"none\""), "{said}");
    }
}

#[test]
fn bad_values_are_named() {
    let node = Node::new();
    for (more, said) in [
        (
            "landlock_paths = [\"dev\"]",
            ":5: landlock_paths = an array: \"dev\" is not an absolute path",
        ),
        ("machine_type = \"q35\"", ":5: Unknown key machine_type"),
        ("accelerator = \"kvm\"", ":5: Unknown key accelerator"),
    ] {
        let complaint = node.complaint(&format!("{LEAST}{more}"));
        assert!(complaint.contains(said), "{complaint}");
    }
    let missing = node.complaint("[hypervisor.clh]\npath = \"@/qemu\"\n");
    assert_eq!(
        missing,
        "@/configuration.toml: [hypervisor.clh] has no kernel"
    );
}

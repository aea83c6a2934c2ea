//! What a good configuration becomes.

use std::{path::Path, time::Duration};

use hypervisors::{
    GuestRoot, MemoryBacking, VmmConfig,
    qemu::{AcceleratorChoice, ChannelKind},
};

use super::{
    super::{NetworkModel, VolumeSettings},
    LEAST, Node, with,
};

#[test]
fn the_least_gets_the_defaults() {
    let node = Node::new();
    let config = node.load(LEAST).unwrap();
    assert_eq!(config.warnings, [""; 0]);
    assert_eq!(
        (config.hypervisor.vcpus, config.hypervisor.max_vcpus),
        (1, 4)
    );
    assert_eq!(config.hypervisor.memory_mib, 2048);
    let VmmConfig::Qemu(qemu) = config.hypervisor.vmm else {
        panic!("{:?}", config.hypervisor.vmm)
    };
    assert_eq!(qemu.accelerator, AcceleratorChoice::Auto);
    assert_eq!(qemu.agent_channel, ChannelKind::Serial);
    assert!(!config.factory.enable_template);
    assert_eq!(
        config.factory.template_path,
        Path::new("/run/imprint/vm/template")
    );
    assert_eq!(
        config.runtime.rootfs_cache_dir,
        Path::new("/var/lib/imprint/rootfs")
    );
    assert_eq!(config.runtime.rootfs_cache_mib, 10_240);
    assert_eq!(config.runtime.volumes, VolumeSettings::default());
    assert_eq!(config.runtime.network, NetworkModel::TcFilter);
    assert!(config.runtime.disable_guest_seccomp);
    assert_eq!(config.agent.connect_timeout, Duration::from_secs(45));
    assert_eq!(config.agent.deadlines, agent_client::Deadlines::default());
    assert_eq!(config.files, [node.path("configuration.toml")]);
}

#[test]
fn what_is_written_is_used() {
    let node = Node::new();
    let config = node
        .load(&with(
            r#"
default_vcpus = 1.5
default_maxvcpus = 3
default_memory = 256
kernel_params = "a=b  c"
accelerator = "tcg"
agent_channel = "vsock"
machine_type = "pc-q35-7.2"
cpu_features = "pmu=off"
seccompsandbox = "off"
pcie_root_port = 4
enable_debug = true
[factory]
enable_template = true
[agent.kata]
enable_debug = true
dial_timeout = 0
request_timeout_ms = 5
[runtime]
enable_debug = true
run_root = "@/run"
internetworking_model = "none"
disable_guest_seccomp = false
create_container_timeout = 9
"#,
        ))
        .unwrap();
    assert!(config.runtime.debug && !config.runtime.disable_guest_seccomp);
    assert_eq!(config.runtime.network, NetworkModel::None);
    assert!(config.factory.enable_template);
    assert_eq!(config.factory.template_path, node.path("run/vm/template"));
    assert_eq!(config.agent.connect_timeout, Duration::from_secs(30));
    assert_eq!(config.agent.deadlines.other, Duration::from_millis(5));
    assert_eq!(
        config.agent.deadlines.create_container,
        Duration::from_secs(9)
    );

    let spec = config.vm_spec("pod", Path::new("/run/x/pod"));
    assert_eq!(
        (spec.id.as_str(), spec.run_dir.as_path()),
        ("pod", Path::new("/run/x/pod"))
    );
    assert_eq!((spec.vcpus, spec.max_vcpus, spec.memory.mib), (2, 3, 256));
    assert_eq!(spec.memory.backing, MemoryBacking::Anonymous);
    assert_eq!(spec.kernel.root, GuestRoot::Initrd(node.path("initrd.img")));
    assert_eq!(
        spec.kernel.command_line,
        "console=ttyS0 panic=1 cryptomgr.notests memhp_default_state=online swiotlb=noforce \
         no_timer_check agent.log=debug a=b  c"
    );

    let VmmConfig::Qemu(qemu) = config.hypervisor.vmm else {
        panic!("{:?}", config.hypervisor.vmm)
    };
    assert_eq!(qemu.binary, node.path("qemu"));
    assert_eq!(
        (qemu.machine_type.as_str(), qemu.pcie_root_ports),
        ("pc-q35-7.2", 4)
    );
    assert_eq!(qemu.accelerator, AcceleratorChoice::Tcg);
    assert_eq!(qemu.agent_channel, ChannelKind::Vsock);
    assert_eq!(qemu.cpu_features.as_deref(), Some("pmu=off"));
    assert!(!qemu.seccomp && qemu.debug_console.is_some());
    assert!(qemu.probe_cache.unwrap().starts_with(node.path("run")));
}

#[test]
fn the_command_line_names_the_root_of_an_image() {
    let node = Node::new();
    let image = LEAST.replace("initrd = \"@/initrd.img\"", "image = \"@/image.raw\"");
    let line = |text: &str| {
        let config = node.load(text).unwrap();
        config.vm_spec("x", Path::new("/x")).kernel.command_line
    };
    assert_eq!(
        line(&image),
        "console=ttyS0 panic=1 cryptomgr.notests memhp_default_state=online swiotlb=noforce \
         no_timer_check quiet root=/dev/vda1 rootflags=data=ordered,errors=remount-ro ro \
         rootfstype=ext4 systemd.unit=kata-containers.target \
         systemd.mask=systemd-networkd.service systemd.mask=systemd-networkd.socket"
    );
    assert!(
        line(&format!("{image}rootfs_type = \"erofs\"\n")).contains("vda1 ro rootfstype=erofs ")
    );
    assert_eq!(
        line(LEAST),
        "console=ttyS0 panic=1 cryptomgr.notests memhp_default_state=online swiotlb=noforce \
         no_timer_check quiet"
    );
}

#[test]
fn vcpus_follow_the_host() {
    let node = Node::new();
    for (text, vcpus, max) in [
        ("default_vcpus = -1", 4, 4),
        ("default_vcpus = 0", 1, 4),
        ("default_vcpus = 0.1", 1, 4),
        ("default_vcpus = 1e300", 4, 4),
        ("default_vcpus = 2\ndefault_maxvcpus = 1", 2, 2),
        ("default_maxvcpus = 9223372036854775807", 1, 4),
    ] {
        let hypervisor = node.load(&with(text)).unwrap().hypervisor;
        assert_eq!(
            (hypervisor.vcpus, hypervisor.max_vcpus),
            (vcpus, max),
            "{text}"
        );
    }
}

#[test]
fn the_factory_may_stand_in_either_place() {
    let node = Node::new();
    let inner = "[hypervisor.qemu.factory]\nenable_template = true\ntemplate_path = \"@/t\"\n";
    let config = node.load(&with(inner)).unwrap();
    assert!(config.factory.enable_template);
    assert_eq!(config.factory.template_path, node.path("t"));
    let both = format!("{inner}[factory]\nenable_template = true\n");
    assert!(node.load(&with(&both)).unwrap().factory.enable_template);
}

#[test]
fn values_of_shipped_files_are_accepted_with_a_warning() {
    let node = Node::new();
    let config = node
        .load(&with(
            r#"
block_device_driver = "virtio-scsi"
block_device_aio = "io_uring"
virtio_fs_daemon = "/usr/libexec/virtiofsd"
valid_virtio_fs_daemon_paths = ["/usr/libexec/virtiofsd"]
virtio_fs_cache = "auto"
virtio_fs_cache_size = 0
virtio_fs_extra_args = ["--thread-pool-size=1", "--announce-submounts"]
disable_block_device_use = true
default_bridges = 1
memory_slots = 10
hot_plug_vfio = "no-port"
entropy_source = "/dev/urandom"
firmware = ""
rootless = false
[agent.kata]
kernel_modules = []
cdh_api_timeout = 50
[agent.kata.mem_agent]
mem_agent_enable = false
memcg_period_secs = 60
[runtime]
hypervisor_name = "qemu"
agent_name = "kata"
vfio_mode = "guest-kernel"
static_sandbox_resource_mgmt = false
experimental = []
"#,
        ))
        .unwrap();
    assert_eq!(config.warnings.len(), 11, "{:#?}", config.warnings);
    let file = node.path("configuration.toml");
    let expected = format!(
        "{}:6: block_device_driver has no effect: disks are always virtio-blk",
        file.display()
    );
    assert!(
        config.warnings.contains(&expected),
        "{:#?}",
        config.warnings
    );
}

#[test]
fn another_hypervisor_may_be_described() {
    let node = Node::new();
    let two = with("[hypervisor.clh]\npath = \"/usr/bin/cloud-hypervisor\"\n");
    let chosen = format!("{two}[runtime]\nhypervisor_name = \"qemu\"\n");
    assert_eq!(
        node.load(&chosen).unwrap().hypervisor.vmm.binary(),
        node.path("qemu")
    );
    assert_eq!(
        node.complaint(&two),
        "@/configuration.toml: Both [hypervisor.qemu] and [hypervisor.clh] exist; write \
         hypervisor_name = \"qemu\" or \"clh\" in [runtime]"
    );
}

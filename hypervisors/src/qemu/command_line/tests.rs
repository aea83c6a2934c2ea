use std::{os::fd::OwnedFd, path::PathBuf};

use super::*;
use crate::{KernelSpec, qemu::ChannelKind, sample};

fn spec() -> VmSpec {
    VmSpec {
        id: "pod-1".into(),
        run_dir: PathBuf::from("/run/imprint/pod-1"),
        max_vcpus: 4,
        memory: MemorySpec {
            mib: 256,
            max_mib: 256,
            backing: MemoryBacking::Anonymous,
        },
        kernel: KernelSpec {
            kernel: PathBuf::from("/guest/vmlinux"),
            root: GuestRoot::Initrd(PathBuf::from("/guest/initrd.img")),
            command_line: "console=hvc0 panic=-1".into(),
        },
        ..sample::spec()
    }
}

fn machine() -> Machine {
    Machine {
        config: QemuConfig::default(),
        accelerator: Accelerator::Tcg,
        has_bridges: true,
    }
}

fn reached_by(agent_channel: ChannelKind) -> Machine {
    let config = QemuConfig {
        agent_channel,
        ..QemuConfig::default()
    };
    Machine {
        config,
        ..machine()
    }
}

fn line(spec: &VmSpec, machine: &Machine, start: Start) -> Vec<String> {
    let channel = match machine.config.agent_channel {
        ChannelKind::Serial => AgentChannel::VirtioSerial(spec.run_dir.join("agent.sock")),
        ChannelKind::Vsock => AgentChannel::Vsock { cid: 4711 },
    };
    arguments(spec, machine, &channel, start).unwrap()
}

fn values<'a>(line: &'a [String], option: &str) -> Vec<&'a str> {
    line.windows(2)
        .filter(|pair| pair[0] == option)
        .map(|pair| pair[1].as_str())
        .collect()
}

#[test]
fn a_restored_vm_has_the_devices_of_the_booted_one() {
    let image = GuestRoot::Image(PathBuf::from("/guest/image"));
    for root in [spec().kernel.root, image] {
        for channel in [ChannelKind::Serial, ChannelKind::Vsock] {
            let spec = VmSpec {
                kernel: KernelSpec {
                    root: root.clone(),
                    ..spec().kernel
                },
                ..spec()
            };
            let machine = reached_by(channel);
            let booted = line(&spec, &machine, Start::Kernel);
            let restored = line(&spec, &machine, Start::SavedState);
            let kernel_at = booted
                .iter()
                .position(|argument| argument == "-kernel")
                .unwrap();
            let load_at = restored
                .iter()
                .position(|argument| argument == "-S")
                .unwrap();
            assert_eq!(booted[..kernel_at], restored[..load_at]);
            assert_eq!(restored[load_at..], ["-S", "-incoming", "defer"]);
        }
    }
}

#[test]
fn a_boot_names_kernel_initrd_and_command_line() {
    let line = line(&spec(), &machine(), Start::Kernel);
    assert_eq!(values(&line, "-kernel"), ["/guest/vmlinux"]);
    assert_eq!(values(&line, "-initrd"), ["/guest/initrd.img"]);
    assert_eq!(values(&line, "-append"), ["console=hvc0 panic=-1"]);
    assert_eq!(
        values(&line, "-smp"),
        ["cpus=1,sockets=4,cores=1,threads=1,maxcpus=4"]
    );
    assert!(!line.contains(&String::from("-S")));
}

#[test]
fn an_emulated_machine_has_room_for_a_second_cpu() {
    let most = |accelerator| {
        let spec = VmSpec {
            max_vcpus: 1,
            ..spec()
        };
        let machine = Machine {
            accelerator,
            ..machine()
        };
        values(&line(&spec, &machine, Start::Kernel), "-smp").join(" ")
    };
    let alone = "cpus=1,sockets=1,cores=1,threads=1,maxcpus=1";
    assert_eq!(most(Accelerator::Kvm), alone);
    let room = "cpus=1,sockets=2,cores=1,threads=1,maxcpus=2";
    assert_eq!(most(Accelerator::Tcg), room);
}

#[test]
fn memory_is_anonymous_shared_or_private() {
    let object = |backing| {
        let spec = VmSpec {
            memory: MemorySpec {
                backing,
                ..spec().memory
            },
            ..spec()
        };
        let line = line(&spec, &machine(), Start::Kernel);
        values(&line, "-object")
            .iter()
            .find(|o| o.starts_with("memory"))
            .unwrap()
            .to_string()
    };
    let file = |shared| MemoryBacking::File {
        path: PathBuf::from("/t/memory"),
        shared,
    };
    assert_eq!(
        object(MemoryBacking::Anonymous),
        "memory-backend-ram,id=ram,size=256M"
    );
    let expected = "memory-backend-file,id=ram,size=256M,mem-path=/t/memory,share=";
    assert_eq!(object(file(true)), format!("{expected}on"));
    assert_eq!(object(file(false)), format!("{expected}off"));
}

#[test]
fn a_comma_in_a_name_adds_no_option() {
    let mut spec = spec();
    spec.id = "a,process=b".into();
    spec.run_dir = PathBuf::from("/run/x,server=off");
    spec.memory.backing = MemoryBacking::File {
        path: PathBuf::from("/t/m,share=on"),
        shared: false,
    };
    spec.kernel.root = GuestRoot::Image(PathBuf::from("/g/\"i,read-only=off"));
    let line = line(&spec, &machine(), Start::Kernel);
    assert_eq!(
        values(&line, "-name"),
        ["guest=a,,process=b,debug-threads=on"]
    );
    let agent = "socket,id=agent,path=/run/x,,server=off/agent.sock,server=on,wait=off";
    assert_eq!(values(&line, "-chardev")[1], agent);
    let memory = "memory-backend-file,id=ram,size=256M,mem-path=/t/m,,share=on,share=off";
    assert!(values(&line, "-object").contains(&memory));
    let node: serde_json::Value = serde_json::from_str(values(&line, "-blockdev")[0]).unwrap();
    assert_eq!(node["file"]["filename"], "/g/\"i,read-only=off");
    assert_eq!(node["read-only"], true);
}

#[test]
fn every_device_has_a_slot_of_its_own() {
    let spec = VmSpec {
        kernel: KernelSpec {
            root: GuestRoot::Image(PathBuf::from("/guest/image")),
            ..spec().kernel
        },
        ..spec()
    };
    let tap = OwnedFd::from(std::fs::File::open("/dev/null").unwrap());
    let spec = VmSpec {
        slots: crate::DiskSlots {
            count: crate::qemu::MAX_DISK_SLOTS,
            mib: 1,
            contents: vec![PathBuf::from("/images/a,b")],
        },
        nic: Some(NicSpec {
            mac: "02:00:00:00:00:01".into(),
            tap: tap.into(),
        }),
        ..spec
    };
    let config = QemuConfig {
        pcie_root_ports: crate::qemu::MAX_PCIE_ROOT_PORTS,
        agent_channel: ChannelKind::Vsock,
        ..QemuConfig::default()
    };
    let machine = Machine {
        config,
        ..machine()
    };
    let line = line(&spec, &machine, Start::Kernel);
    let mut slots = Vec::new();
    for device in values(&line, "-device")
        .iter()
        .filter(|d| d.contains("bus=pcie.0"))
    {
        let slot = device
            .split("addr=")
            .nth(1)
            .unwrap()
            .split(',')
            .next()
            .unwrap();
        let (slot, function) = slot.split_once('.').unwrap_or((slot, "0"));
        let slot = u32::from_str_radix(slot.trim_start_matches("0x"), 16).unwrap();
        slots.push((slot, function.parse::<u32>().unwrap()));
    }
    let devices = 5 + 22 + 16;
    assert_eq!(slots.len(), devices);
    slots.sort_unstable();
    slots.dedup();
    assert_eq!(slots.len(), devices);
    assert_eq!((slots[0], slots[devices - 1]), ((1, 0), (0x1d, 0)));
}

#[test]
fn a_slot_shows_its_image_or_nothing() {
    let mut spec = spec();
    spec.slots = crate::DiskSlots {
        count: 2,
        mib: 3,
        contents: vec![PathBuf::from("/images/a,b")],
    };
    let line = line(&spec, &machine(), Start::Kernel);
    let nodes: Vec<serde_json::Value> = values(&line, "-blockdev")
        .iter()
        .map(|node| serde_json::from_str(node).unwrap())
        .collect();
    let bytes = 3 << 20;
    let expected = [
        serde_json::json!({"node-name": "empty", "read-only": true, "driver": "null-co",
            "size": bytes, "read-zeroes": true}),
        serde_json::json!({"node-name": "slot-0-image", "read-only": true, "driver": "file",
            "filename": "/images/a,b", "locking": "auto"}),
        serde_json::json!({"driver": "raw", "node-name": "slot-0", "read-only": true,
            "size": bytes, "file": "slot-0-image"}),
        serde_json::json!({"driver": "raw", "node-name": "slot-1", "read-only": true,
            "size": bytes, "file": "empty"}),
    ];
    assert_eq!(nodes, expected);
}

#[test]
fn the_agent_has_one_channel() {
    let serial = line(&spec(), &machine(), Start::Kernel).join(" ");
    assert!(serial.contains("name=imprint.agent") && !serial.contains("vsock"));
    let machine = reached_by(ChannelKind::Vsock);
    let vsock = line(&spec(), &machine, Start::Kernel).join(" ");
    assert!(vsock.contains("vhost-vsock-pci,guest-cid=4711") && !vsock.contains("imprint.agent"));
    assert!(vsock.contains("name=imprint.log") && serial.contains("name=imprint.log"));
}

#[test]
fn the_accelerator_decides_the_processor() {
    let mut machine = machine();
    machine.config.cpu_features = Some("pmu=off".into());
    assert_eq!(
        values(&line(&spec(), &machine, Start::Kernel), "-cpu"),
        ["max,pmu=off"]
    );
    machine.accelerator = Accelerator::Kvm;
    let line = line(&spec(), &machine, Start::Kernel);
    assert_eq!(values(&line, "-cpu"), ["host,pmu=off"]);
    assert_eq!(values(&line, "-accel"), ["kvm"]);
}

#[test]
fn seccomp_is_on_unless_it_is_switched_off() {
    let mut machine = machine();
    assert!(values(&line(&spec(), &machine, Start::Kernel), "-sandbox")[0].contains("spawn=deny"));
    machine.config.seccomp = false;
    assert!(values(&line(&spec(), &machine, Start::Kernel), "-sandbox").is_empty());
}

#[test]
fn the_debug_console_is_below_the_run_directory() {
    let mut machine = machine();
    machine.config.debug_console = Some(PathBuf::from("console.log"));
    let line = line(&spec(), &machine, Start::Kernel);
    let console = "file,id=console,path=/run/imprint/pod-1/console.log";
    assert!(values(&line, "-chardev").contains(&console));
}

//! What goes over the wire, key by key.

use std::path::PathBuf;

use serde_json::{Value, json};

use super::*;
use crate::{DiskSlots, KernelSpec, sample};

fn spec() -> VmSpec {
    VmSpec {
        max_vcpus: 4,
        memory: MemorySpec {
            mib: 256,
            max_mib: 256,
            backing: MemoryBacking::Anonymous,
        },
        kernel: KernelSpec {
            kernel: PathBuf::from("/k"),
            root: GuestRoot::Initrd(PathBuf::from("/i")),
            command_line: "quiet".into(),
        },
        ..sample::spec()
    }
}

fn wire(spec: &VmSpec, config: &ClhConfig) -> Value {
    serde_json::to_value(VmConfig::new(spec, config).unwrap()).unwrap()
}

#[test]
fn a_plain_vm_is_this() {
    let expected = json!({
        "cpus": {"boot_vcpus": 1, "max_vcpus": 4, "nested": true},
        "memory": {"size": 256 << 20, "shared": false},
        "payload": {"kernel": "/k", "cmdline": "quiet", "initramfs": "/i"},
        "rng": {"src": "/dev/urandom"},
        "serial": {"mode": "Off"},
        "console": {"mode": "Off"},
        "vsock": {"cid": 3, "socket": "/run/a/clh.sock"},
    });
    assert_eq!(wire(&spec(), &ClhConfig::default()), expected);
}

#[test]
fn memory_in_a_file_is_one_zone_and_none_is_plugged_beside_it() {
    for shared in [true, false] {
        let mut spec = spec();
        spec.memory.max_mib = 1024;
        spec.memory.backing = MemoryBacking::File {
            path: PathBuf::from("/m"),
            shared,
        };
        let zone = json!({"id": "mem0", "size": 256 << 20, "file": "/m", "shared": shared});
        let expected = json!({"size": 0, "shared": shared, "zones": [zone]});
        assert_eq!(wire(&spec, &ClhConfig::default())["memory"], expected);
    }
}

#[test]
fn memory_grows_in_whole_steps() {
    for (max, hotplug) in [
        (256, None),
        (383, None),
        (384, Some(128)),
        (1000, Some(640)),
    ] {
        let mut spec = spec();
        spec.memory.max_mib = max;
        let expected = hotplug.map_or(Value::Null, |mib: u64| json!(mib << 20));
        let memory = &wire(&spec, &ClhConfig::default())["memory"];
        assert_eq!(memory["hotplug_size"], expected, "{max}");
    }
}

#[test]
fn an_image_is_a_raw_disk_that_is_only_read() {
    let mut spec = spec();
    spec.kernel.root = GuestRoot::Image(PathBuf::from("/g"));
    let config = wire(&spec, &ClhConfig::default());
    let disk = &config["disks"][0];
    assert_eq!(disk["path"], "/g");
    assert_eq!(
        (&disk["readonly"], &disk["image_type"]),
        (&json!(true), &json!("Raw"))
    );
    assert!(disk["num_queues"].is_u64() && disk["queue_size"].is_u64());
    assert_eq!(config["payload"].get("initramfs"), None);
}

#[test]
fn each_slot_is_a_disk_on_a_link_of_the_vms_own() {
    let mut spec = spec();
    spec.kernel.root = GuestRoot::Image(PathBuf::from("/g"));
    spec.slots = DiskSlots {
        count: 2,
        mib: 16,
        contents: vec![PathBuf::from("/cache/image")],
    };
    let config = wire(&spec, &ClhConfig::default());
    let disks = config["disks"].as_array().unwrap();
    let paths: Vec<_> = disks.iter().map(|disk| &disk["path"]).collect();
    assert_eq!(paths, ["/g", "/run/a/slot-0", "/run/a/slot-1"]);
    assert_eq!(disks[2]["id"], "slot-1");
    assert_eq!(disks[2]["readonly"], true);
}

#[test]
fn landlock_knows_where_later_disks_are() {
    let config = ClhConfig {
        landlock: Some(vec![PathBuf::from("/cache")]),
        debug_console: Some(PathBuf::from("console.log")),
        ..ClhConfig::default()
    };
    let wire = wire(&spec(), &config);
    assert_eq!(wire["landlock_enable"], json!(true));
    assert_eq!(
        wire["landlock_rules"],
        json!([{"path": "/cache", "access": "rw"}])
    );
    assert_eq!(
        wire["serial"],
        json!({"mode": "File", "file": "/run/a/console.log"})
    );
}

#[test]
fn a_tap_is_no_part_of_its_interface() {
    let net = serde_json::to_value(NetConfig::new("net-eth0", "02:00:00:00:00:01")).unwrap();
    let expected = json!({
        "id": "net-eth0", "mac": "02:00:00:00:00:01", "num_queues": 2, "queue_size": 256,
    });
    assert_eq!(net, expected);
}

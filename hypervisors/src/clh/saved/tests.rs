//! What a configuration keeps, and what it does not.

use std::{fs::File, path::PathBuf, sync::Arc};

use serde_json::{Value, json};

use super::*;
use crate::{DiskSlots, KernelSpec, MemorySpec, NicSpec, sample};

/// As it is saved, with keys that nobody here knows.
fn saved() -> Value {
    json!({
        "cpus": {"boot_vcpus": 1, "max_vcpus": 1, "max_phys_bits": 46, "features": {"amx": false}},
        "memory": {
            "size": 0, "mergeable": false, "hotplug_method": "Acpi", "hotplug_size": null,
            "shared": true, "hugepages": false, "thp": true,
            "zones": [{
                "id": "mem0", "size": 1 << 20, "file": "/templates/.building-1/memory",
                "shared": true, "hugepages": false, "prefault": false, "later_key": [1, 2.5, null],
            }],
        },
        "payload": {"firmware": null, "kernel": "/k", "cmdline": "quiet", "initramfs": null},
        "disks": [
            {"id": "image", "path": "/old/image", "readonly": true, "num_queues": 1},
            {
                "id": "slot-0", "path": "/templates/.building-1/vm/slot-0", "readonly": true,
                "later_key": 1,
            },
        ],
        "net": [{
            "tap": null, "mac": "02:00:00:00:00:01", "host_mac": null, "num_queues": 2,
            "queue_size": 256, "vhost_mode": "Client", "id": "nic", "fds": [22], "later_key": true,
        }],
        "serial": {"file": "/templates/.building-1/vm/console.log", "mode": "File", "iommu": false},
        "vsock": {
            "cid": 3, "socket": "/templates/.building-1/vm/clh.sock", "iommu": false,
            "id": "_vsock0",
        },
        "later_version": {"anything": 18_446_744_073_709_551_615_u64},
    })
}

fn spec() -> VmSpec {
    VmSpec {
        run_dir: PathBuf::from("/run/clone"),
        memory: MemorySpec {
            mib: 1,
            max_mib: 1,
            backing: MemoryBacking::File {
                path: PathBuf::from("/templates/t/memory"),
                shared: false,
            },
        },
        kernel: KernelSpec {
            kernel: PathBuf::from("/k2"),
            root: GuestRoot::Image(PathBuf::from("/new/image")),
            command_line: "other".into(),
        },
        slots: DiskSlots {
            count: 1,
            mib: 1,
            contents: vec![PathBuf::from("/cache/image")],
        },
        nic: Some(NicSpec {
            mac: "02:00:00:00:00:02".into(),
            tap: Arc::new(File::open("/dev/null").unwrap().into()),
        }),
        ..sample::spec()
    }
}

fn fitted(saved: &Value, spec: &VmSpec) -> Result<Value, String> {
    let saved = SavedConfig::parse(&serde_json::to_vec(saved).unwrap()).unwrap();
    let fitted = saved.fitted(spec).map_err(|error| error.to_string())?;
    Ok(serde_json::from_slice(&fitted.encode().unwrap()).unwrap())
}

#[test]
fn only_what_belongs_to_one_vm_changes() {
    let mut expected = saved();
    expected["memory"]["shared"] = json!(false);
    expected["memory"]["zones"][0]["shared"] = json!(false);
    expected["memory"]["zones"][0]["file"] = json!("/templates/t/memory");
    expected["disks"][0]["path"] = json!("/new/image");
    expected["disks"][1]["path"] = json!("/run/clone/slot-0");
    expected["net"][0]["fds"] = json!([-1]);
    expected["serial"]["file"] = json!("/run/clone/console.log");
    expected["vsock"]["socket"] = json!("/run/clone/clh.sock");
    assert_eq!(fitted(&saved(), &spec()), Ok(expected));
}

#[test]
fn what_fits_already_is_left_alone() {
    let once = fitted(&saved(), &spec()).unwrap();
    assert_eq!(fitted(&once, &spec()), Ok(once));
}

#[test]
fn a_console_elsewhere_stays_there() {
    let mut saved = saved();
    saved["serial"]["file"] = json!("/var/log/console");
    let fitted = fitted(&saved, &spec()).unwrap();
    assert_eq!(fitted["serial"]["file"], "/var/log/console");
}

#[test]
fn another_vm_than_the_saved_one_is_refused() {
    type Change = fn(&mut Value, &mut VmSpec);
    let changes: [(Change, &str); 14] = [
        (|_, spec| spec.memory.mib = 2, "not 2097152"),
        (
            |saved, _| saved["memory"]["zones"] = json!([]),
            "not 1048576",
        ),
        (
            |_, spec| spec.memory.backing = MemoryBacking::Anonymous,
            "to be in none",
        ),
        (
            |saved, _| saved["memory"] = json!({"size": 1 << 20}),
            "in 0 files",
        ),
        (|saved, _| saved["disks"] = Value::Null, "guest's root"),
        (|_, spec| spec.slots.count = 0, "1 disk slots"),
        (|_, spec| spec.slots.count = 2, "is to have 2"),
        (
            |saved, _| saved["disks"][1]["id"] = json!("slot-1"),
            "for the disk slot 0",
        ),
        (|saved, _| saved["vsock"] = Value::Null, "no vsock"),
        (|_, spec| spec.nic = None, "is to have none"),
        (|saved, _| saved["net"] = Value::Null, "is to have one"),
        (
            |saved, _| saved["net"][0]["id"] = json!("net-eth0"),
            "not the one of a VM's start",
        ),
        (
            |saved, _| saved["net"][0]["fds"] = Value::Null,
            "not the one of a VM's start",
        ),
        (
            |saved, _| saved["net"] = json!([saved["net"][0], saved["net"][0]]),
            "not the one of a VM's start",
        ),
    ];
    for (change, words) in changes {
        let (mut saved, mut spec) = (saved(), spec());
        change(&mut saved, &mut spec);
        let refusal = fitted(&saved, &spec).unwrap_err();
        assert!(refusal.contains(words), "{refusal}");
    }
}

#[test]
fn damage_is_no_configuration() {
    for text in [
        "",
        "{",
        "[]",
        "null",
        "{\"memory\": 1}",
        "{\"memory\": {\"size\": -1}}",
    ] {
        assert!(SavedConfig::parse(text.as_bytes()).is_err(), "{text}");
    }
}

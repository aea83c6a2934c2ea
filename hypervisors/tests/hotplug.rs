//! Devices attached to and detached from a running guest, with a real QEMU and a real guest.

#![allow(missing_docs, clippy::expect_used, clippy::panic, clippy::unwrap_used)]

mod common;

use std::{fs, time::Instant};

use common::{Bench, answer, bench, restore, tap::tap};
use hypervisors::{DiskSpec, Error, Hypervisor, NetSpec, Vm};

fn disk(bench: &Bench, id: &str, read_only: bool) -> DiskSpec {
    let path = bench.path(id);
    let file = fs::OpenOptions::new()
        .create(true)
        .append(true)
        .open(&path)
        .unwrap();
    file.set_len(1 << 20).unwrap();
    DiskSpec {
        id: id.to_owned(),
        path,
        read_only,
    }
}

async fn attach_and_detach(bench: &Bench, vm: &dyn Vm) {
    let disk = disk(bench, "rootfs", true);
    let start = Instant::now();
    assert_eq!(vm.add_disk(&disk).await.unwrap().to_string(), "08/00");
    eprintln!("disk attached in {:?}", start.elapsed());
    assert_refused(vm.add_disk(&disk).await, "already attached");
    let start = Instant::now();
    vm.remove_disk("rootfs").await.unwrap();
    eprintln!("disk detached in {:?}", start.elapsed());
    assert_refused(vm.remove_disk("rootfs").await, "no such device");
    assert_eq!(vm.add_disk(&disk).await.unwrap().to_string(), "08/00");
    vm.remove_disk("rootfs").await.unwrap();
}

fn assert_refused<T: std::fmt::Debug>(result: Result<T, Error>, words: &str) {
    let error = result.unwrap_err();
    assert!(error.to_string().contains(words), "{error}");
}

#[tokio::test]
async fn a_disk_is_attached_to_a_booted_vm_and_detached() {
    let Some(bench) = bench().await else { return };
    let vm = bench.qemu.boot(&bench.spec("a")).await.unwrap();
    answer(&*vm).await;
    attach_and_detach(&bench, &*vm).await;
}

#[tokio::test]
async fn a_disk_is_attached_to_a_restored_vm_and_detached() {
    let Some(bench) = bench().await else { return };
    let saved = bench.template().await;
    let vm = restore(&bench, "a", &saved).await;
    vm.resume().await.unwrap();
    answer(&*vm).await;
    attach_and_detach(&bench, &*vm).await;
}

#[tokio::test]
async fn a_plug_that_fails_leaves_nothing_in_its_way() {
    let Some(bench) = bench().await else { return };
    let vm = bench.qemu.boot(&bench.spec("a")).await.unwrap();
    let good = disk(&bench, "good", true);
    let missing = DiskSpec {
        path: bench.path("missing"),
        ..good.clone()
    };
    assert!(matches!(
        vm.add_disk(&missing).await,
        Err(Error::Io {
            action: "Opening disk",
            ..
        })
    ));
    let directory = DiskSpec {
        path: bench.dir.path().to_owned(),
        ..good.clone()
    };
    assert!(matches!(
        vm.add_disk(&directory).await,
        Err(Error::Io { .. })
    ));
    // An empty file can be opened, but no disk can be made of it.
    let empty = DiskSpec {
        path: bench.path("empty"),
        ..good.clone()
    };
    fs::write(&empty.path, "").unwrap();
    let _ = vm
        .add_disk(&empty)
        .await
        .map(|path| assert_eq!(path.to_string(), "08/00"));
    let writer = disk(&bench, "shared", false);
    vm.add_disk(&writer).await.unwrap();
    let reader = DiskSpec {
        id: "reader".into(),
        read_only: true,
        ..writer
    };
    assert_refused(vm.add_disk(&reader).await, "lock");
    vm.add_disk(&good)
        .await
        .map(drop)
        .or_else(|error| match error {
            Error::Refused { .. } => Ok(()),
            other => Err(other),
        })
        .unwrap();
}

#[tokio::test]
async fn devices_are_attached_behind_the_bridges_once_the_ports_are_taken() {
    let Some(bench) = bench().await else { return };
    let vm = bench.qemu.boot(&bench.spec("a")).await.unwrap();
    let ports = (0..6).map(|index| format!("{:02x}/00", 8 + index));
    let bridges = [0x1c, 0x1d].into_iter();
    let behind =
        bridges.flat_map(|bridge| (1..32).map(move |slot| format!("{bridge:02x}/{slot:02x}")));
    for (count, place) in ports.chain(behind).enumerate() {
        let path = vm
            .add_disk(&disk(&bench, &format!("d{count}"), count % 2 == 0))
            .await
            .unwrap();
        assert_eq!(path.to_string(), place);
    }
    assert_refused(
        vm.add_disk(&disk(&bench, "more", true)).await,
        "All 68 places for devices are taken",
    );
}

#[tokio::test]
async fn a_descriptor_that_is_no_tap_is_refused_and_forgotten() {
    let Some(bench) = bench().await else { return };
    let vm = bench.qemu.boot(&bench.spec("a")).await.unwrap();
    let net = || NetSpec {
        id: "eth0".into(),
        mac: "02:00:00:00:00:01".into(),
        tap: fs::File::open("/dev/null").unwrap().into(),
    };
    let first = vm.add_net(net()).await.unwrap_err().to_string();
    let second = vm.add_net(net()).await.unwrap_err().to_string();
    eprintln!("{first}");
    assert_eq!(first, second);
    assert_eq!(
        vm.add_disk(&disk(&bench, "d", true))
            .await
            .unwrap()
            .to_string(),
        "08/00"
    );
}

#[tokio::test]
async fn a_network_interface_is_attached_to_a_restored_vm() {
    let Some(bench) = bench().await else { return };
    let saved = bench.template().await;
    let vm = restore(&bench, "a", &saved).await;
    vm.resume().await.unwrap();
    answer(&*vm).await;
    for (id, place) in [("eth0", "08/00"), ("eth1", "09/00")] {
        let tap = match tap() {
            Ok(tap) => tap.into(),
            Err(error) => return eprintln!("SKIPPED: no tap: {error}"),
        };
        let net = NetSpec {
            id: id.into(),
            mac: "02:00:00:00:00:01".into(),
            tap,
        };
        assert_eq!(vm.add_net(net).await.unwrap().to_string(), place);
    }
}

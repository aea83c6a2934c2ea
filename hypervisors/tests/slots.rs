//! Devices that are there from the start, with a real QEMU and a real guest.

#![allow(missing_docs, clippy::expect_used, clippy::panic, clippy::unwrap_used)]

mod common;

use std::{
    fs,
    os::fd::OwnedFd,
    path::{Path, PathBuf},
    sync::Arc,
    time::Instant,
};

use common::{Bench, answer, bench, tap::tap};
use hypervisors::{DiskSlots, Error, Hypervisor, NicSpec, Vm, VmSpec};

const MIB: u32 = 4;

fn image(bench: &Bench, name: &str, bytes: u64) -> PathBuf {
    let path = bench.path(name);
    let file = fs::File::create(&path).unwrap();
    file.set_len(bytes).unwrap();
    path
}

fn slots(spec: VmSpec, contents: Vec<PathBuf>) -> VmSpec {
    let slots = DiskSlots {
        count: 3,
        mib: MIB,
        contents,
    };
    VmSpec { slots, ..spec }
}

/// The files that the monitor has open.
fn open(vm: &dyn Vm) -> Vec<PathBuf> {
    let dir = format!("/proc/{}/fd", vm.process().pid);
    let entries = fs::read_dir(dir).unwrap().flatten();
    entries
        .filter_map(|fd| fs::read_link(fd.path()).ok())
        .collect()
}

fn refused<T: std::fmt::Debug>(result: Result<T, Error>, words: &str) {
    let error = result.unwrap_err().to_string();
    assert!(error.contains(words), "{error}");
}

async fn exchange(vm: &dyn Vm, first: &Path, image: &Path, short: &Path) {
    let paths: Vec<_> = (0..4)
        .map(|slot| Some(vm.disk_slot(slot)?.to_string()))
        .collect();
    let expected = ["06", "06.1", "06.2"].map(|path| Some(String::from(path)));
    assert_eq!(paths[..3], expected);
    assert_eq!(paths[3], None);
    assert!(open(vm).contains(&first.to_owned()));
    refused(vm.fill_slot(0, image).await, "it shows an image");
    refused(vm.empty_slot(1).await, "it shows no image");
    refused(vm.fill_slot(3, image).await, "there is no such slot");
    refused(vm.fill_slot(1, short).await, "no regular file of at least");

    let start = Instant::now();
    vm.fill_slot(1, image).await.unwrap();
    eprintln!("slot filled in {:?}", start.elapsed());
    assert!(open(vm).contains(&image.to_owned()));
    vm.fill_slot(2, image).await.unwrap();
    vm.empty_slot(0).await.unwrap();
    assert!(!open(vm).contains(&first.to_owned()));
    vm.empty_slot(1).await.unwrap();
    vm.empty_slot(2).await.unwrap();
    assert!(!open(vm).contains(&image.to_owned()));
    vm.fill_slot(0, first).await.unwrap();
}

#[tokio::test]
async fn what_is_in_a_slot_is_exchanged_in_a_booted_and_in_a_restored_vm() {
    let Some(bench) = bench().await else { return };
    let bytes = u64::from(MIB) << 20;
    let (first, other) = (
        image(&bench, "first", bytes),
        image(&bench, "other", 2 * bytes),
    );
    let short = image(&bench, "short", bytes - 1);

    let spec = slots(bench.spec_with_file("template", true), vec![]);
    let vm = bench.qemu.boot(&spec).await.unwrap();
    answer(&*vm).await;
    vm.fill_slot(0, &first).await.unwrap();
    exchange(&*vm, &first, &other, &short).await;
    vm.empty_slot(0).await.unwrap();
    vm.pause().await.unwrap();
    let saved = bench.path("saved");
    fs::create_dir(&saved).unwrap();
    vm.save(&saved).await.unwrap();
    vm.kill().await.unwrap();

    let spec = slots(bench.spec_with_file("clone", false), vec![first.clone()]);
    let vm = bench.qemu.restore(&spec, &saved).await.unwrap();
    vm.resume().await.unwrap();
    answer(&*vm).await;
    exchange(&*vm, &first, &other, &short).await;
    vm.kill().await.unwrap();
}

#[tokio::test]
async fn slots_that_no_vm_can_have_are_refused() {
    let Some(bench) = bench().await else { return };
    let short = image(&bench, "short", 1);
    refused(
        bench
            .qemu
            .boot(&slots(bench.spec("a"), vec![short]))
            .await
            .map(drop),
        "no regular file of at least",
    );
    let mut many = slots(bench.spec("a"), vec![]);
    many.slots.count = 17;
    refused(bench.qemu.boot(&many).await.map(drop), "17 disk slots");
}

#[tokio::test]
async fn a_clone_has_a_tap_of_its_own() {
    let Some(bench) = bench().await else { return };
    let nic = || {
        let tap = OwnedFd::from(tap().ok()?);
        let mac = "02:00:5e:00:00:01".into();
        let tap = Arc::new(tap);
        Some(NicSpec { mac, tap })
    };
    if nic().is_none() {
        eprintln!("SKIPPED: no tap can be made");
        return;
    }
    let mut spec = bench.spec_with_file("template", true);
    assert_eq!(nic().map(|nic| nic.mac.len()), Some(17));
    spec.nic = nic();
    let vm = bench.qemu.boot(&spec).await.unwrap();
    answer(&*vm).await;
    assert_eq!(vm.nic().unwrap().to_string(), "05");
    vm.pause().await.unwrap();
    let saved = bench.path("saved");
    fs::create_dir(&saved).unwrap();
    vm.save(&saved).await.unwrap();
    vm.kill().await.unwrap();

    let mut spec = bench.spec_with_file("clone", false);
    spec.nic = nic();
    let vm = bench.qemu.restore(&spec, &saved).await.unwrap();
    vm.resume().await.unwrap();
    answer(&*vm).await;
    assert!(open(&*vm).contains(&PathBuf::from("/dev/net/tun")));
    vm.kill().await.unwrap();
}

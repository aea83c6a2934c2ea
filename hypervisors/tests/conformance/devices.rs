//! Disks, network interfaces, vCPUs and memory that come while the VM runs.

use std::{fs, time::Instant};

use hypervisors::{DiskSpec, Error, MemoryBacking, NetSpec, Vm, VmSpec};

use crate::{
    subject::{MIB, Subject},
    tap::tap,
};

pub async fn a_disk_comes_and_goes(subject: &Subject) {
    let vm = subject.boot(&subject.spec("a")).await;
    attach_and_detach(subject, &*vm).await;
    vm.kill().await.unwrap();
}

pub async fn a_disk_comes_and_goes_in_a_clone(subject: &Subject) {
    if !subject.saves() {
        return;
    }
    let saved = subject.template(|spec| spec).await;
    let spec = subject.spec_with_file("a", false);
    let vm = subject.restore(&spec, &saved).await;
    // Before it runs: a guest finds the disk when it wakes up.
    let early = vm.add_disk(&disk(subject, "early", true)).await.unwrap();
    vm.resume().await.unwrap();
    subject.answer(&*vm).await;
    attach_and_detach(subject, &*vm).await;
    assert_ne!(
        vm.add_disk(&disk(subject, "late", true)).await.unwrap(),
        early
    );
    vm.kill().await.unwrap();
}

async fn attach_and_detach(subject: &Subject, vm: &dyn Vm) {
    let disk = disk(subject, "rootfs", true);
    let start = Instant::now();
    let place = vm.add_disk(&disk).await.unwrap();
    eprintln!("disk attached at {place} in {:?}", start.elapsed());
    assert_refused(vm.add_disk(&disk).await);
    assert_refused(vm.remove_disk("other").await);
    if !subject.runs_guests("a detach, which takes a guest that releases the disk") {
        return;
    }
    let start = Instant::now();
    vm.remove_disk("rootfs").await.unwrap();
    eprintln!("disk detached in {:?}", start.elapsed());
    assert_refused(vm.remove_disk("rootfs").await);
    assert_eq!(vm.add_disk(&disk).await.unwrap(), place);
    vm.remove_disk("rootfs").await.unwrap();
}

pub async fn a_network_interface_comes(subject: &Subject) {
    let tap = match tap() {
        Ok(tap) => tap,
        Err(error) => return eprintln!("SKIPPED: no tap can be made: {error}"),
    };
    let vm = subject.boot(&subject.spec("a")).await;
    let net = |tap: fs::File, mac: &str| NetSpec {
        id: "eth0".into(),
        mac: mac.into(),
        tap: tap.into(),
    };
    let bad = vm.add_net(net(tap.try_clone().unwrap(), "no mac")).await;
    assert!(matches!(bad, Err(Error::InvalidSpec(_))), "{bad:?}");
    let place = vm.add_net(net(tap, "02:00:00:00:00:01")).await.unwrap();
    eprintln!("network interface at {place}");
    assert_refused(
        vm.add_net(net(self::tap().unwrap(), "02:00:00:00:00:01"))
            .await,
    );
    vm.kill().await.unwrap();
}

pub async fn what_cannot_be_attached_leaves_nothing_in_its_way(subject: &Subject) {
    let vm = subject.boot(&subject.spec("a")).await;
    let good = disk(subject, "good", true);
    for path in [subject.path("missing"), subject.path("")] {
        let bad = DiskSpec {
            path,
            ..good.clone()
        };
        let error = vm.add_disk(&bad).await.unwrap_err();
        assert!(matches!(error, Error::Io { .. }), "{error}");
    }
    let bad = DiskSpec {
        id: "no,id".into(),
        ..good.clone()
    };
    let error = vm.add_disk(&bad).await.unwrap_err();
    assert!(matches!(error, Error::InvalidSpec(_)), "{error}");
    // Somebody writes to it, so nobody else does.
    let writer = disk(subject, "written", false);
    vm.add_disk(&writer).await.unwrap();
    let second = DiskSpec {
        id: "second".into(),
        ..writer.clone()
    };
    assert_refused(vm.add_disk(&second).await);
    vm.add_disk(&good).await.unwrap();
    subject.answer(&*vm).await;
    vm.kill().await.unwrap();
}

pub async fn a_vm_grows(subject: &Subject) {
    let vm = subject.boot(&growing(subject.spec("a"))).await;
    grow_vcpus(subject, &*vm).await;
    vm.resize_memory(MIB).await.unwrap();
    assert_eq!(vm.resize_memory(MIB + 1).await.unwrap(), MIB + 128);
    assert_eq!(vm.resize_memory(MIB + 300).await.unwrap(), MIB + 384);
    assert_refused(vm.resize_memory(MIB).await);
    assert_refused(vm.resize_memory(2000).await);
    subject.answer(&*vm).await;
    vm.kill().await.unwrap();
}

/// A VMM that cannot let the memory of a clone grow says so.
pub async fn a_clone_grows_or_says_why_not(subject: &Subject) {
    if !subject.saves() {
        return;
    }
    let saved = subject.template(growing).await;
    let spec = growing(subject.spec_with_file("a", false));
    assert!(matches!(spec.memory.backing, MemoryBacking::File { .. }));
    let vm = subject.restore(&spec, &saved).await;
    vm.resume().await.unwrap();
    subject.answer(&*vm).await;
    grow_vcpus(subject, &*vm).await;
    match vm.resize_memory(MIB + 128).await {
        Ok(mib) => assert_eq!(mib, MIB + 128),
        Err(error) => {
            assert!(error.to_string().contains("memory is in a file"), "{error}");
        }
    }
    subject.answer(&*vm).await;
    vm.kill().await.unwrap();
}

async fn grow_vcpus(subject: &Subject, vm: &dyn Vm) {
    assert_eq!(vm.vcpu_threads().await.unwrap().len(), 1);
    vm.resize_vcpus(1).await.unwrap();
    if subject.runs_guests("more vCPUs, which take a guest that notices") {
        vm.resize_vcpus(3).await.unwrap();
        assert_eq!(vm.vcpu_threads().await.unwrap().len(), 3);
        assert_refused(vm.resize_vcpus(2).await);
    }
    assert_refused(vm.resize_vcpus(4).await);
}

fn growing(mut spec: VmSpec) -> VmSpec {
    spec.max_vcpus = 3;
    spec.memory.max_mib = 1024;
    spec
}

fn disk(subject: &Subject, id: &str, read_only: bool) -> DiskSpec {
    let path = subject.path(id);
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

fn assert_refused<T: std::fmt::Debug>(result: Result<T, Error>) {
    let error = result.unwrap_err();
    eprintln!("{error}");
    assert!(matches!(error, Error::Refused { .. }), "{error:?}");
}

//! vCPUs and memory hot-plugged into a running guest, with a real QEMU and a real guest.

#![allow(missing_docs, clippy::expect_used, clippy::panic, clippy::unwrap_used)]

mod common;

use std::time::Instant;

use common::{Bench, MIB, answer, bench};
use hypervisors::{Error, Hypervisor, Vm, VmSpec};

fn growing(spec: VmSpec) -> VmSpec {
    let mut spec = spec;
    spec.max_vcpus = 3;
    spec.memory.max_mib = 1024;
    spec
}

fn assert_refused<T: std::fmt::Debug>(result: Result<T, Error>, words: &str) {
    let error = result.unwrap_err();
    assert!(error.to_string().contains(words), "{error}");
}

async fn grow(vm: &dyn Vm) {
    assert_eq!(vm.vcpu_threads().await.unwrap().len(), 1);
    let start = Instant::now();
    vm.resize_vcpus(1).await.unwrap();
    vm.resize_vcpus(3).await.unwrap();
    eprintln!("two vCPUs taken by the guest in {:?}", start.elapsed());
    assert_eq!(vm.vcpu_threads().await.unwrap().len(), 3);
    let start = Instant::now();
    assert_eq!(vm.resize_memory(MIB).await.unwrap(), MIB);
    assert_eq!(vm.resize_memory(MIB + 1).await.unwrap(), MIB + 128);
    assert_eq!(vm.resize_memory(MIB + 300).await.unwrap(), MIB + 384);
    eprintln!("384 MiB taken by the guest in {:?}", start.elapsed());
    answer(vm).await;

    assert_refused(vm.resize_vcpus(2).await, "a VM does not shrink");
    assert_refused(vm.resize_vcpus(4).await, "a limit of 3");
    assert_refused(vm.resize_memory(MIB).await, "a VM does not shrink");
    assert_refused(vm.resize_memory(1000).await, "a limit of 1024 MiB");
}

#[tokio::test]
async fn a_booted_vm_grows() {
    let Some(bench) = bench().await else { return };
    let can = bench.qemu.capabilities();
    assert!(can.vcpu_hotplug && can.memory_hotplug_beside_file);
    let vm = bench.qemu.boot(&growing(bench.spec("a"))).await.unwrap();
    answer(&*vm).await;
    grow(&*vm).await;
    vm.kill().await.unwrap();
    assert_eq!(bench.processes(), [] as [String; 0]);
}

#[tokio::test]
async fn a_restored_vm_grows_and_its_template_does_not() {
    let Some(bench) = bench().await else { return };
    let saved = template(&bench).await;
    for id in ["a", "b"] {
        let spec = growing(bench.spec_with_file(id, false));
        let vm = bench.qemu.restore(&spec, &saved).await.unwrap();
        vm.resume().await.unwrap();
        answer(&*vm).await;
        grow(&*vm).await;
    }
}

#[tokio::test]
async fn memory_ends_with_its_slots() {
    let config = hypervisors::qemu::QemuConfig {
        memory_slots: 1,
        ..common::config()
    };
    let Some(bench) = common::bench_with(config).await else {
        return;
    };
    let vm = bench.qemu.boot(&growing(bench.spec("a"))).await.unwrap();
    answer(&*vm).await;
    vm.resize_memory(MIB + 128).await.unwrap();
    assert_refused(
        vm.resize_memory(MIB + 256).await,
        "all 1 memory slots are taken",
    );
}

#[tokio::test]
async fn a_vm_of_fixed_size_says_so() {
    let Some(bench) = bench().await else { return };
    let vm = bench.qemu.boot(&bench.spec("a")).await.unwrap();
    assert_refused(vm.resize_vcpus(2).await, "a limit of 1");
    assert_refused(vm.resize_memory(MIB + 128).await, "a limit of 160 MiB");
}

async fn template(bench: &Bench) -> std::path::PathBuf {
    let spec = growing(bench.spec_with_file("template", true));
    let vm = bench.qemu.boot(&spec).await.unwrap();
    answer(&*vm).await;
    vm.pause().await.unwrap();
    let saved = bench.path("saved");
    std::fs::create_dir(&saved).unwrap();
    vm.save(&saved).await.unwrap();
    vm.kill().await.unwrap();
    saved
}

//! Measures the phases of booting, saving and restoring a VM, and of attaching a disk to it.
//!
//! `cargo run --release -p hypervisors --example phases [-- rounds [root ports]]`, with the guest
//! in `build/guest` or in the directory that `IMPRINT_TEST_GUEST` names.

#![allow(missing_docs, clippy::expect_used, clippy::panic, clippy::unwrap_used)]

#[path = "../tests/common/mod.rs"]
mod common;

use std::{
    collections::BTreeMap,
    fs,
    time::{Duration, Instant},
};

use common::{Bench, answer, bench_with, config, restore};
use hypervisors::{DiskSpec, Hypervisor, Vm, qemu::QemuConfig};

/// Samples per phase, in the order in which phases were first seen.
#[derive(Default)]
struct Phases(BTreeMap<&'static str, Vec<Duration>>);

impl Phases {
    async fn time<T>(&mut self, name: &'static str, step: impl Future<Output = T>) -> T {
        let start = Instant::now();
        let value = step.await;
        self.0.entry(name).or_default().push(start.elapsed());
        value
    }

    fn print(mut self) {
        for (name, samples) in &mut self.0 {
            samples.sort();
            let (low, middle) = (samples[0], samples[samples.len() / 2]);
            println!(
                "{name:32} median {middle:9.1?}  min {low:9.1?}  n {}",
                samples.len()
            );
        }
    }
}

async fn template(bench: &Bench, phases: &mut Phases) {
    let spec = bench.spec_with_file("template", true);
    let start = Instant::now();
    let vm = phases
        .time("1 boot: start to QMP", bench.qemu.boot(&spec))
        .await
        .unwrap();
    answer(&*vm).await;
    phases
        .0
        .entry("2 boot: start to first answer")
        .or_default()
        .push(start.elapsed());
    phases.time("3 pause", vm.pause()).await.unwrap();
    let saved = bench.path("saved");
    let _ = fs::remove_dir_all(&saved);
    fs::create_dir(&saved).unwrap();
    phases.time("4 save", vm.save(&saved)).await.unwrap();
    phases.time("5 kill", vm.kill()).await.unwrap();
}

async fn clone(bench: &Bench, phases: &mut Phases) {
    let start = Instant::now();
    let vm = phases
        .time("6 restore", restore(bench, "clone", &bench.path("saved")))
        .await;
    phases.time("7 resume", vm.resume()).await.unwrap();
    answer(&*vm).await;
    phases
        .0
        .entry("8 restore: start to first answer")
        .or_default()
        .push(start.elapsed());
    attach(bench, &*vm, phases).await;
    vm.kill().await.unwrap();
}

async fn attach(bench: &Bench, vm: &dyn Vm, phases: &mut Phases) {
    let path = bench.path("disk");
    fs::File::create(&path).unwrap().set_len(64 << 20).unwrap();
    let disk = DiskSpec {
        id: String::from("disk"),
        path,
        read_only: true,
    };
    phases
        .time("9 attach disk: over QMP", vm.add_disk(&disk))
        .await
        .unwrap();
    phases
        .time("A detach disk", vm.remove_disk("disk"))
        .await
        .unwrap();
}

#[tokio::main]
async fn main() {
    let mut arguments = std::env::args()
        .skip(1)
        .map(|argument| argument.parse::<u32>().unwrap());
    let rounds = arguments.next().unwrap_or(9);
    let ports = arguments
        .next()
        .unwrap_or(QemuConfig::default().pcie_root_ports);
    let config = QemuConfig {
        pcie_root_ports: ports,
        ..config()
    };
    let Some(bench) = bench_with(config).await else {
        return;
    };
    let mut phases = Phases::default();
    for _ in 0..rounds.div_ceil(3) {
        template(&bench, &mut phases).await;
        for _ in 0..3 {
            clone(&bench, &mut phases).await;
        }
    }
    let state = fs::metadata(bench.path("saved/state")).unwrap().len();
    println!("{ports} root ports, state of {state} bytes");
    phases.print();
}

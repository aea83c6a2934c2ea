//! The probe of a real QEMU on this machine, and what is kept of it.

#![allow(missing_docs, clippy::expect_used, clippy::panic, clippy::unwrap_used)]

mod common;

use std::{fs, time::Instant};

use common::{config, log};
use hypervisors::{
    Hypervisor,
    qemu::{AcceleratorChoice, Qemu, QemuConfig},
};

#[tokio::test]
async fn a_probe_is_made_once_and_then_read() {
    if !config().binary.exists() {
        eprintln!("SKIPPED: {} is missing", config().binary.display());
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    let cache = dir.path().join("probe/qemu.json");
    let config = QemuConfig {
        accelerator: AcceleratorChoice::Auto,
        probe_cache: Some(cache.clone()),
        ..config()
    };
    let start = Instant::now();
    let probed = Qemu::probe(config.clone(), &log()).await.unwrap();
    eprintln!("probed in {:?}", start.elapsed());
    let start = Instant::now();
    let read = Qemu::probe(config, &log()).await.unwrap();
    eprintln!("read in {:?}", start.elapsed());
    assert_eq!(probed.identity(), read.identity());
    assert_eq!(probed.capabilities(), read.capabilities());
    assert!(probed.capabilities().private_file_restore);
    let kept: serde_json::Value = serde_json::from_slice(&fs::read(cache).unwrap()).unwrap();
    // A host without KVM has nothing to keep.
    let verdict = &kept["kvm"]["verdict"];
    let works = verdict["works"].as_bool().unwrap_or(false);
    eprintln!("KVM: {}", verdict["reason"]);
    let accelerator = if works { "kvm" } else { "tcg" };
    assert_eq!(probed.identity().machine.accelerator, accelerator);
}

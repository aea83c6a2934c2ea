//! What goes wrong is an error with a reason, and leaves no process and no socket.

#![allow(missing_docs, clippy::expect_used, clippy::panic, clippy::unwrap_used)]

mod common;

use std::{error::Error as _, fs, os::unix::fs::PermissionsExt, path::Path};

use common::{Bench, answer, bench, config, log};
use hypervisors::{
    Error, GuestRoot, Hypervisor, VmSpec,
    qemu::{AcceleratorChoice, Qemu, QemuConfig},
};

fn assert_nothing_left(bench: &Bench, id: &str) {
    assert_eq!(bench.leftovers(id), [] as [std::path::PathBuf; 0]);
    assert_eq!(bench.processes(), [] as [String; 0]);
}

async fn boot_error(bench: &Bench, spec: &VmSpec) -> Error {
    match bench.qemu.boot(spec).await {
        Ok(_) => panic!("it booted"),
        Err(error) => error,
    }
}

async fn restore_error(bench: &Bench, id: &str, saved: &Path) -> Error {
    match bench
        .qemu
        .restore(&bench.spec_with_file(id, false), saved)
        .await
    {
        Ok(_) => panic!("it was restored"),
        Err(error) => error,
    }
}

#[tokio::test]
async fn a_kernel_that_is_missing_or_none_is_refused() {
    let Some(bench) = bench().await else { return };
    let mut spec = bench.spec("a");
    spec.kernel.kernel = bench.path("missing");
    let error = boot_error(&bench, &spec).await;
    assert!(error.to_string().starts_with("Reading kernel "), "{error}");
    assert!(error.source().unwrap().to_string().contains("No such file"));
    spec.kernel.kernel = bench.initrd.clone();
    let error = boot_error(&bench, &spec).await;
    assert!(error.to_string().contains("is no kernel"), "{error}");
    spec.kernel.kernel = bench.kernel.clone();
    spec.kernel.root = GuestRoot::Initrd(bench.path("missing"));
    let error = boot_error(&bench, &spec).await;
    assert!(error.to_string().starts_with("Opening initrd "), "{error}");
    assert_nothing_left(&bench, "a");
}

#[tokio::test]
async fn a_refusal_of_qemu_comes_with_its_words() {
    let Some(bench) = bench().await else { return };
    let mut spec = bench.spec("a");
    spec.max_vcpus = 100_000;
    let error = boot_error(&bench, &spec).await;
    let Error::Exited { last_words, .. } = &error else {
        panic!("{error}")
    };
    assert!(last_words.contains("100000"), "{error}");
    assert_nothing_left(&bench, "a");
    spec.max_vcpus = 1;
    spec.run_dir = bench.path("missing");
    let error = boot_error(&bench, &spec).await;
    assert!(error.to_string().contains("agent.sock"), "{error}");
    assert_nothing_left(&bench, "a");
}

#[tokio::test]
async fn a_truncated_or_foreign_state_is_refused_cleanly() {
    let Some(bench) = bench().await else { return };
    let saved = bench.template().await;
    let whole = fs::read(saved.join("state")).unwrap();
    let damaged = [
        ("empty", Vec::new()),
        ("header", whole[..3].to_vec()),
        ("half", whole[..whole.len() / 2].to_vec()),
        ("tail", whole[..whole.len() - 2000].to_vec()),
        ("foreign", b"not a state at all, not even close".to_vec()),
    ];
    for (name, content) in damaged {
        fs::write(saved.join("state"), content).unwrap();
        let error = restore_error(&bench, name, &saved).await;
        assert!(
            matches!(error, Error::Exited { .. } | Error::Refused { .. }),
            "{name}: {error}"
        );
        eprintln!("{name}: {error}");
        assert_nothing_left(&bench, name);
    }
    fs::remove_file(saved.join("state")).unwrap();
    let error = restore_error(&bench, "missing", &saved).await;
    assert!(error.to_string().starts_with("Opening "), "{error}");
    assert_nothing_left(&bench, "missing");
}

#[tokio::test]
async fn a_state_of_another_shape_is_refused_cleanly() {
    let Some(bench) = bench().await else { return };
    let saved = bench.template().await;
    let mut spec = bench.spec_with_file("three", false);
    // There is room for two in any emulated machine.
    (spec.vcpus, spec.max_vcpus) = (3, 3);
    let error = bench
        .qemu
        .restore(&spec, &saved)
        .await
        .map(drop)
        .unwrap_err();
    eprintln!("three vCPUs: {error}");
    assert_nothing_left(&bench, "three");
    let mut spec = bench.spec("smaller");
    spec.memory.mib -= 32;
    let error = bench
        .qemu
        .restore(&spec, &saved)
        .await
        .map(drop)
        .unwrap_err();
    eprintln!("less memory: {error}");
    assert_nothing_left(&bench, "smaller");
    let config = QemuConfig {
        pcie_root_ports: 4,
        ..config()
    };
    let qemu = Qemu::probe(config, &log()).await.unwrap();
    let spec = bench.spec_with_file("ports", false);
    let error = qemu.restore(&spec, &saved).await.map(drop).unwrap_err();
    eprintln!("fewer ports: {error}");
    assert_nothing_left(&bench, "ports");
}

#[tokio::test]
async fn a_memory_file_of_another_length_is_refused() {
    let Some(bench) = bench().await else { return };
    let spec = bench.spec_with_file("a", true);
    fs::write(bench.path("memory"), "short").unwrap();
    let error = boot_error(&bench, &spec).await;
    assert!(matches!(error, Error::InvalidSpec(_)), "{error}");
    assert_nothing_left(&bench, "a");
}

#[tokio::test]
async fn a_save_that_cannot_be_leaves_no_state() {
    let Some(bench) = bench().await else { return };
    let vm = bench.qemu.boot(&bench.spec("a")).await.unwrap();
    let dir = bench.path("saved");
    let error = vm.save(&dir).await.unwrap_err();
    assert!(error.to_string().contains("not paused"), "{error}");
    vm.pause().await.unwrap();
    let error = vm.save(&dir).await.unwrap_err();
    assert!(error.to_string().starts_with("Creating "), "{error}");
    fs::create_dir(&dir).unwrap();
    fs::write(dir.join("state"), "precious").unwrap();
    vm.save(&dir).await.unwrap_err();
    assert_eq!(fs::read(dir.join("state")).unwrap(), b"precious");
    vm.resume().await.unwrap();
    answer(&*vm).await;
}

#[tokio::test]
async fn the_death_of_qemu_ends_a_call_under_way() {
    let Some(bench) = bench().await else { return };
    let vm = bench.qemu.boot(&bench.spec("a")).await.unwrap();
    let (gone, error) = tokio::join!(vm.kill(), vm.remove_disk("x"));
    gone.unwrap();
    error.unwrap_err();
    let error = vm.resume().await.unwrap_err();
    assert!(
        matches!(error, Error::Exited { during: "cont", .. }),
        "{error}"
    );
    assert_nothing_left(&bench, "a");
}

/// A program that stands in for QEMU; its standard input is the control connection.
fn fake(dir: &Path, script: &str) -> QemuConfig {
    let binary = dir.join("fake-qemu");
    fs::write(&binary, format!("#!/bin/sh\n{script}\n")).unwrap();
    fs::set_permissions(&binary, fs::Permissions::from_mode(0o755)).unwrap();
    QemuConfig {
        binary,
        accelerator: AcceleratorChoice::Tcg,
        ..QemuConfig::default()
    }
}

async fn probe_error(config: QemuConfig) -> String {
    match Qemu::probe(config, &log()).await {
        Ok(_) => panic!("it can be used"),
        Err(error) => error.to_string(),
    }
}

#[tokio::test]
async fn a_binary_that_is_not_qemu_is_unusable() {
    let binary = |path: &str| QemuConfig {
        binary: path.into(),
        ..config()
    };
    for (path, words) in [
        ("/no/such/qemu", "No such file"),
        ("/etc/passwd", "ermission denied"),
        ("/bin/true", "it said nothing"),
        ("/bin/ls", "invalid option"),
    ] {
        let error = probe_error(binary(path)).await;
        assert!(
            error.starts_with(&format!("VMM {path} cannot be used: ")),
            "{error}"
        );
        assert!(error.contains(words), "{error}");
    }
}

#[tokio::test]
async fn a_qemu_that_misbehaves_is_unusable() {
    let dir = tempfile::tempdir().unwrap();
    let greeting = |major: u32| {
        let numbers = format!(r#"{{"major":{major},"minor":2,"micro":0}}"#);
        format!(r#"{{"QMP":{{"version":{{"qemu":{numbers},"package":""}},"capabilities":[]}}}}"#)
    };
    let new = greeting(9);
    for (script, words) in [
        (String::from("echo half >&0"), "invalid message"),
        (
            format!("printf '%s' '{new}' >&0; echo oops >&2"),
            "during its start: oops",
        ),
        (
            format!("echo '{new}' >&0; read line; echo gone >&2; exit 1"),
            "its start: gone",
        ),
        (
            format!("echo '{new}' >&0; read line; echo '{{\"return\":' >&0; read x"),
            "invalid",
        ),
    ] {
        let error = probe_error(fake(dir.path(), &script)).await;
        assert!(error.contains(words), "{script}: {error}");
    }
}

#[tokio::test]
async fn choices_that_cannot_be_are_refused() {
    let error = probe_error(QemuConfig {
        machine_type: "q36".into(),
        ..config()
    })
    .await;
    assert!(error.ends_with("it has no machine type q36"), "{error}");
    let error = probe_error(QemuConfig {
        pcie_root_ports: 21,
        ..config()
    })
    .await;
    assert!(
        error.ends_with("21 PCIe root ports asked for, 20 fit"),
        "{error}"
    );
}

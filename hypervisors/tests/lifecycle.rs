//! Boot, pause, save, restore, resume and end, with a real QEMU and a real guest.

#![allow(clippy::unwrap_used, clippy::panic, missing_docs)]

mod common;

use std::{fs, os::unix::fs::PermissionsExt, time::Instant};

use common::{answer, bench, bench_with, config, restore};
use hypervisors::{AgentChannel, Error, Hypervisor, qemu::QemuConfig};

#[tokio::test]
async fn a_vm_is_booted_saved_and_restored_more_than_once() {
    let Some(bench) = bench().await else { return };
    let saved = bench.template().await;
    let state = fs::metadata(saved.join("state")).unwrap();
    assert_eq!(state.permissions().mode() & 0o777, 0o600);
    assert!(
        state.len() < 4 << 20,
        "the state holds memory: {} bytes",
        state.len()
    );
    let before = fs::read(bench.path("memory")).unwrap();
    for id in ["one", "two"] {
        let start = Instant::now();
        let vm = restore(&bench, id, &saved).await;
        let origin = vm.origin().await.unwrap();
        assert!(
            origin.starts_with("incoming migration completed"),
            "{origin}"
        );
        vm.resume().await.unwrap();
        let resumed = start.elapsed();
        answer(&*vm).await;
        eprintln!(
            "restore+resume {resumed:?}, first answer {:?}",
            start.elapsed()
        );
        vm.kill().await.unwrap();
        assert_eq!(bench.leftovers(id), [] as [std::path::PathBuf; 0]);
    }
    assert!(
        before == fs::read(bench.path("memory")).unwrap(),
        "a clone changed the template"
    );
    assert_eq!(bench.processes(), [] as [String; 0]);
}

#[tokio::test]
async fn a_booted_vm_says_so_and_keeps_its_sockets_private() {
    let Some(bench) = bench().await else { return };
    let vm = bench.qemu.boot(&bench.spec("a")).await.unwrap();
    assert!(
        vm.origin()
            .await
            .unwrap()
            .ends_with("no incoming migration")
    );
    let mut sockets = vec![vm.log_socket().unwrap()];
    if let AgentChannel::VirtioSerial(agent) = vm.agent_channel() {
        sockets.push(agent);
    }
    for socket in sockets {
        assert_eq!(
            fs::metadata(socket).unwrap().permissions().mode() & 0o777,
            0o600
        );
    }
    let stat = fs::read_to_string(format!("/proc/{}/stat", vm.process().pid)).unwrap();
    assert!(stat.contains(&format!(" {} ", vm.process().start_time)));
    vm.kill().await.unwrap();
    let exit = vm.wait().await;
    assert_eq!(exit.code, Some(137));
    assert!(matches!(
        vm.pause().await,
        Err(Error::Exited { during: "stop", .. })
    ));
}

#[tokio::test]
async fn dropping_the_last_handle_ends_the_vm() {
    let Some(bench) = bench().await else { return };
    let vm = bench.qemu.boot(&bench.spec("a")).await.unwrap();
    let waiting = tokio::spawn({
        let vm = vm.clone();
        async move { vm.wait().await }
    });
    drop(vm);
    waiting.abort();
    let _ = waiting.await;
    let gone = async {
        while !bench.processes().is_empty() {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(std::time::Duration::from_secs(10), gone)
        .await
        .unwrap();
}

#[tokio::test]
async fn a_saved_vm_with_its_memory_in_the_state_is_restored() {
    let Some(bench) = bench().await else { return };
    let vm = bench.qemu.boot(&bench.spec("source")).await.unwrap();
    answer(&*vm).await;
    vm.pause().await.unwrap();
    vm.save(bench.dir.path()).await.unwrap();
    vm.resume().await.unwrap();
    answer(&*vm).await;
    vm.kill().await.unwrap();
    let vm = bench
        .qemu
        .restore(&bench.spec("copy"), bench.dir.path())
        .await
        .unwrap();
    vm.resume().await.unwrap();
    answer(&*vm).await;
}

#[tokio::test]
async fn the_debug_console_holds_the_kernels_words() {
    let config = QemuConfig {
        debug_console: Some("console.log".into()),
        ..config()
    };
    let Some(bench) = bench_with(config).await else {
        return;
    };
    let mut spec = bench.spec("a");
    spec.kernel.command_line = "console=ttyS0 panic=-1".into();
    let vm = bench.qemu.boot(&spec).await.unwrap();
    answer(&*vm).await;
    let console = fs::read_to_string(spec.run_dir.join("console.log")).unwrap();
    assert!(console.contains("Linux version"), "{console}");
}

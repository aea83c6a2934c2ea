//! Boot, pause, resume, and the ways in which a VM ends by itself.

use std::{fs, os::unix::fs::PermissionsExt, time::Duration};

use hypervisors::{AgentChannel, Error};
use tokio::time::timeout;

use crate::subject::Subject;

pub async fn a_vm_is_booted_and_ends(subject: &Subject) {
    let spec = subject.spec("a");
    let vm = subject.boot(&spec).await;
    assert!(vm.origin().await.unwrap().starts_with("booted"));
    let stat = fs::read_to_string(format!("/proc/{}/stat", vm.process().pid)).unwrap();
    assert!(stat.contains(&format!(" {} ", vm.process().start_time)));
    let line = fs::read(format!("/proc/{}/cmdline", vm.process().pid)).unwrap();
    assert!(String::from_utf8_lossy(&line).contains(&spec.id));
    let sockets = match vm.agent_channel() {
        AgentChannel::VirtioSerial(path) | AgentChannel::HybridVsock(path) => Some(path.as_path()),
        AgentChannel::Vsock { .. } => None,
    };
    for socket in sockets.into_iter().chain(vm.log_socket()) {
        let mode = fs::metadata(socket).unwrap().permissions().mode();
        assert_eq!(mode & 0o077, 0, "{}", socket.display());
    }
    vm.kill().await.unwrap();
    vm.kill().await.unwrap();
    assert_eq!(vm.wait().await.code, Some(137));
    assert!(matches!(vm.pause().await, Err(Error::Exited { .. })));
    assert_eq!(subject.leftovers("a"), [] as [std::path::PathBuf; 0]);
}

pub async fn a_vm_is_paused_and_resumed(subject: &Subject) {
    let vm = subject.boot(&subject.spec("a")).await;
    for _ in 0..2 {
        vm.pause().await.unwrap();
        vm.pause().await.unwrap();
        vm.resume().await.unwrap();
        vm.resume().await.unwrap();
    }
    subject.answer(&*vm).await;
    assert_eq!(vm.vcpu_threads().await.unwrap().len(), 1);
    vm.kill().await.unwrap();
}

pub async fn dropping_the_last_handle_ends_the_vm(subject: &Subject) {
    let vm = subject.hypervisor.boot(&subject.spec("a")).await.unwrap();
    let pid = vm.process().pid;
    drop(vm);
    let gone = async {
        while fs::exists(format!("/proc/{pid}")).unwrap() {
            tokio::task::yield_now().await;
        }
    };
    timeout(Duration::from_secs(30), gone).await.unwrap();
    assert_eq!(subject.leftovers("a"), [] as [std::path::PathBuf; 0]);
}

pub async fn a_guest_that_resets_ends_its_vm(subject: &Subject) {
    if !subject.runs_guests("a guest that resets") {
        return;
    }
    let mut spec = subject.spec("a");
    // Its init is not there, so it panics, and resets at once.
    spec.kernel.command_line = "quiet panic=-1 rdinit=/none init=/none".into();
    let vm = subject.hypervisor.boot(&spec).await.unwrap();
    let exit = timeout(Duration::from_secs(90), vm.wait()).await.unwrap();
    eprintln!("{exit:?}");
    assert_eq!(subject.leftovers("a"), [] as [std::path::PathBuf; 0]);
}

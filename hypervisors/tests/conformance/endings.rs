//! A VMM that ends when it is not expected to.

use std::{fs, path::PathBuf, sync::Arc};

use hypervisors::{DiskSpec, Error, Vm};
use rustix::process::{Pid, Signal, kill_process};

use crate::subject::Subject;

/// Kills the VMM from outside, as an operator or the kernel would.
fn shoot(vm: &dyn Vm) {
    let pid = Pid::from_raw(vm.process().pid.cast_signed()).unwrap();
    kill_process(pid, Signal::KILL).unwrap();
}

pub async fn a_killed_vmm_is_told_at_every_step(subject: &Subject) {
    if !subject.saves() {
        return;
    }
    let saved = subject.template(|spec| spec).await;
    let disk = DiskSpec {
        id: "d".into(),
        path: subject.path("memory"),
        read_only: true,
    };
    for step in ["pause", "resume", "save", "add_disk", "resize", "origin"] {
        let spec = subject.spec_with_file(step, false);
        let vm: Arc<dyn Vm> = subject.restore(&spec, &saved).await;
        shoot(&*vm);
        let target = subject.path(&format!("target-{step}"));
        fs::create_dir(&target).unwrap();
        let ended = match step {
            "pause" => vm.pause().await,
            "resume" => vm.resume().await,
            "save" => vm.save(&target).await,
            "add_disk" => vm.add_disk(&disk).await.map(drop),
            "origin" => vm.origin().await.map(drop),
            _ => vm.remove_disk("d").await,
        };
        let error = ended.unwrap_err();
        eprintln!("{step}: {error}");
        let expected = matches!(error, Error::Exited { .. })
            // What was never attached may be refused without asking the VMM.
            || (step == "resize" && matches!(error, Error::Refused { .. }));
        assert!(expected, "{step}: {error}");
        assert_eq!(vm.wait().await.code, Some(137));
        assert_eq!(subject.leftovers(step), [] as [PathBuf; 0]);
        assert_eq!(fs::read_dir(&target).unwrap().count(), 0, "{step}");
        subject.assert_nothing_left();
    }
}

pub async fn a_failed_start_leaves_nothing(subject: &Subject) {
    let mut spec = subject.spec("a");
    spec.max_vcpus = 100_000;
    let error = subject.hypervisor.boot(&spec).await.map(drop).unwrap_err();
    eprintln!("{error}");
    assert!(error.to_string().contains("100000"), "{error}");
    assert_eq!(subject.leftovers("a"), [] as [PathBuf; 0]);
    let mut spec = subject.spec("b");
    spec.run_dir = subject.path("missing");
    assert!(subject.hypervisor.boot(&spec).await.is_err());
    let spec = subject.spec_with_file("c", false);
    let missing = subject.path("missing");
    let error = subject.hypervisor.restore(&spec, &missing).await;
    let error = error.map(drop).unwrap_err();
    assert!(matches!(error, Error::Io { .. }), "{error}");
    assert_eq!(subject.leftovers("c"), [] as [PathBuf; 0]);
}

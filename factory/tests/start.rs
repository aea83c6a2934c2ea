//! Starts on a faked monitor: whatever goes wrong with a template, the VM starts, by booting, with
//! the reason, and nothing is left of the attempt.

mod support;

use std::{fs::Permissions, os::unix::fs::PermissionsExt, path::Path, sync::atomic::Ordering};

use factory::{BootReason, StartPath, StartPlan, StartRecord, Unfit};
use hypervisors::{MemoryBacking, SavedForm};
use support::{Bench, Fault, GuestFault, budgets, can_mount};

#[tokio::test]
async fn a_fitting_template_is_restored_privately_and_made_unique() {
    if !can_mount() {
        return;
    }
    let bench = Bench::new();
    bench.init(None, false).await.unwrap();
    let hypervisor = bench.hypervisor(None);
    let started = bench.start(&hypervisor).await;

    let StartRecord {
        path,
        template_key,
        reason,
        phases,
        proof,
        ..
    } = &started.record;
    assert_eq!(
        (*path, proof.as_str()),
        (StartPath::Restored, "loaded"),
        "{reason}"
    );
    let names: Vec<_> = phases.iter().map(|phase| phase.name).collect();
    assert_eq!(names, ["restore", "resume", "connect", "reseed and clock"]);
    let template = &bench.store.list().unwrap()[0];
    assert_eq!(
        template_key.as_deref(),
        Some(template.as_ref().unwrap().key())
    );
    let memory = bench.template_dir().join("memory");
    let backings = hypervisor.backings.lock();
    assert_eq!(
        *backings,
        [MemoryBacking::File {
            path: memory,
            shared: false
        }]
    );
}

#[tokio::test]
async fn a_saved_configuration_is_made_to_fit_the_clone() {
    if !can_mount() {
        return;
    }
    let mut bench = Bench::new();
    bench.saved_form = SavedForm::WithConfig;
    bench.init(None, false).await.unwrap();
    let template = bench.template_dir();
    let files = ["config.json", "state.json"].map(|name| template.join(name));
    let before = files.each_ref().map(|path| std::fs::read(path).unwrap());
    let hypervisor = bench.hypervisor(None);
    let started = bench.start(&hypervisor).await;
    assert_eq!(
        started.record.path,
        StartPath::Restored,
        "{:?}",
        started.record
    );

    let restored = hypervisor.restored.lock().clone();
    let zone = &restored["memory"]["zones"][0];
    assert_eq!(restored["memory"]["shared"], false);
    assert_eq!(zone["shared"], false);
    assert_eq!(zone["file"], template.join("memory").to_str().unwrap());
    let socket = bench.spec.run_dir.join("clh.sock");
    assert_eq!(restored["vsock"]["socket"], socket.to_str().unwrap());
    assert_eq!(restored["unknown"]["kept"], true);
    let after = files.each_ref().map(|path| std::fs::read(path).unwrap());
    assert!(before == after, "a clone changed its template");
    assert!(!bench.spec.run_dir.join("saved").exists());
}

#[tokio::test]
async fn a_configuration_that_fits_no_clone_ends_in_a_boot() {
    if !can_mount() {
        return;
    }
    let mut bench = Bench::new();
    bench.saved_form = SavedForm::WithConfig;
    bench.init(None, false).await.unwrap();
    let hypervisor = bench.hypervisor(None);
    let plan = factory::choose(true, &bench.store, &hypervisor, &bench.spec).await;
    std::fs::write(bench.template_dir().join("config.json"), "{\"memory\":").unwrap();
    let started = factory::start(plan, &hypervisor, &bench.spec, budgets(), &bench.log).await;
    let record = started.unwrap().record;
    assert_eq!(record.path, StartPath::Booted);
    assert!(record.reason.contains("configuration"), "{}", record.reason);
    assert!(!bench.spec.run_dir.join("saved").exists());
}

#[tokio::test]
async fn every_failed_restore_ends_booted_with_its_reason() {
    if !can_mount() {
        return;
    }
    let bench = Bench::new();
    let faults = [
        (
            Fault::LoadRefused,
            "loading the saved state: VMM refused load",
        ),
        (
            Fault::LoadHangs,
            "not ready within 500ms, while loading the saved state",
        ),
        (
            Fault::DiesWhileLoading,
            "loading the saved state: VMM ended during load: Section 7",
        ),
        (
            Fault::ResumeRefused,
            "resuming the vCPUs: VMM refused resume",
        ),
        (
            Fault::DiesAfterResume,
            "the monitor ended while connecting to the guest's agent",
        ),
        (
            Fault::RestoredGuest(GuestFault::Silent),
            "connecting to the guest's agent",
        ),
        (
            Fault::RestoredGuest(GuestFault::ReseedRefused),
            "reseeding the guest's random numbers",
        ),
        (
            Fault::RestoredGuest(GuestFault::ReseedHangs),
            "not ready within 500ms, while making the clone unique",
        ),
        (
            Fault::RestoredGuest(GuestFault::ClockRefused),
            "setting the guest's clock",
        ),
    ];
    for (fault, reason) in faults {
        bench.init(None, true).await.unwrap();
        let hypervisor = bench.hypervisor(Some(fault));
        let kept = bench.spec.run_dir.join("state.json");
        std::fs::write(&kept, b"the sandbox's own").unwrap();

        let started = bench.start(&hypervisor).await;
        let record = &started.record;
        assert_eq!(record.path, StartPath::Booted, "{fault:?}");
        assert!(
            record.reason.contains(reason),
            "{fault:?}: {}",
            record.reason
        );
        assert_eq!(record.reason_label, "restore-failed");
        assert!(record.template_key.is_some());
        assert_eq!(
            hypervisor.alive.load(Ordering::SeqCst),
            1,
            "{fault:?} left a VM"
        );
        assert!(kept.exists(), "{fault:?} removed what was not its own");
        started.vm.kill().await.unwrap();
        std::fs::remove_file(bench.spec.run_dir.join("agent.sock")).unwrap();
    }
}

#[tokio::test]
async fn after_three_failures_in_a_row_a_template_is_set_aside_until_it_is_replaced() {
    if !can_mount() {
        return;
    }
    let bench = Bench::new();
    bench.init(None, false).await.unwrap();
    let (bad, good) = (
        bench.hypervisor(Some(Fault::LoadRefused)),
        bench.hypervisor(None),
    );
    let order = [&bad, &bad, &good, &bad, &bad, &bad, &good];
    let mut labels = Vec::new();
    for hypervisor in order {
        let started = bench.start(hypervisor).await;
        labels.push(started.record.reason_label);
        started.vm.kill().await.unwrap();
        std::fs::remove_file(bench.spec.run_dir.join("agent.sock")).unwrap();
    }
    let failed = "restore-failed";
    assert_eq!(
        labels,
        [failed, failed, "fits", failed, failed, failed, "set-aside"]
    );

    bench.init(None, true).await.unwrap();
    assert_eq!(bench.start(&good).await.record.path, StartPath::Restored);
}

#[tokio::test]
async fn a_template_that_is_not_as_it_was_made_is_not_restored() {
    if !can_mount() {
        return;
    }
    type Damage = fn(&Bench, &Path);
    let damages: [(&str, &str, Damage); 10] = [
        ("damaged", "has 3 bytes, not 5", |_, dir| {
            std::fs::write(dir.join("state"), b"sta").unwrap();
        }),
        ("damaged", "state is not what was saved", |_, dir| {
            std::fs::write(dir.join("state"), b"stAte").unwrap();
        }),
        ("damaged", "state is missing", |_, dir| {
            std::fs::remove_file(dir.join("state")).unwrap()
        }),
        ("damaged", "memory has 4096 bytes, not 4194304", |_, dir| {
            let memory = std::fs::OpenOptions::new()
                .write(true)
                .open(dir.join("memory"))
                .unwrap();
            memory.set_len(4096).unwrap();
        }),
        ("damaged", "memory was changed or replaced", |_, dir| {
            let memory = std::fs::OpenOptions::new()
                .write(true)
                .open(dir.join("memory"))
                .unwrap();
            std::os::unix::fs::FileExt::write_at(&memory, b"x", 9000).unwrap();
        }),
        ("damaged", "manifest", |_, dir| {
            std::fs::write(dir.join("manifest.json"), b"{").unwrap()
        }),
        ("not-private", "mode 0644", |_, dir| {
            let open = Permissions::from_mode(0o644);
            std::fs::set_permissions(dir.join("state"), open).unwrap();
        }),
        ("not-private", "mode 0755", |bench, _| {
            std::fs::set_permissions(bench.store.path(), Permissions::from_mode(0o755)).unwrap();
        }),
        ("mismatch", "kernel: template has", |bench, _| {
            std::fs::write(&bench.spec.kernel.kernel, b"a new kernel").unwrap();
        }),
        ("absent", "There is no VM template in", |_, dir| {
            std::fs::remove_file(dir.join("manifest.json")).unwrap();
        }),
    ];
    for (label, text, damage) in damages {
        let bench = Bench::new();
        bench.init(None, false).await.unwrap();
        damage(&bench, &bench.template_dir());
        let started = bench.start(&bench.hypervisor(None)).await;
        assert_eq!(started.record.path, StartPath::Booted, "{text}");
        assert_eq!(
            started.record.reason_label, label,
            "{}",
            started.record.reason
        );
        assert!(
            started.record.reason.contains(text),
            "{}",
            started.record.reason
        );
        assert_eq!(started.record.proof, "booted");
    }
}

#[tokio::test]
async fn the_plan_names_why_it_boots() {
    let bench = Bench::new();
    let hypervisor = bench.hypervisor(None);
    let choose = |enabled, spec| factory::choose(enabled, &bench.store, &hypervisor, spec);
    let plan = choose(false, &bench.spec).await;
    assert!(
        matches!(plan, StartPlan::Boot(BootReason::Disabled)),
        "{plan:?}"
    );
    let plan = choose(true, &bench.spec).await;
    assert!(
        matches!(
            plan,
            StartPlan::Boot(BootReason::Unfit(Unfit::Absent { .. }))
        ),
        "{plan:?}"
    );
    let mut spec = bench.spec.clone();
    spec.kernel.kernel = "/nonexistent".into();
    let plan = choose(true, &spec).await;
    assert!(
        matches!(plan, StartPlan::Boot(BootReason::Unknown(_))),
        "{plan:?}"
    );
    let unable = bench.hypervisor(Some(Fault::CannotRestore));
    let plan = factory::choose(true, &bench.store, &unable, &bench.spec).await;
    assert!(
        matches!(plan, StartPlan::Boot(BootReason::NotSupported { .. })),
        "{plan:?}"
    );
}

#[tokio::test]
async fn a_boot_that_fails_is_an_error_and_leaves_nothing() {
    let faults = [
        (Fault::BootRefused, "The virtual machine was not started"),
        (
            Fault::BootDies,
            "ended before its agent answered: Kernel not PVH",
        ),
        (
            Fault::BootedGuest(GuestFault::Silent),
            "its agent did not answer",
        ),
    ];
    for (fault, text) in faults {
        let bench = Bench::new();
        let hypervisor = bench.hypervisor(Some(fault));
        let plan = StartPlan::Boot(BootReason::Disabled);
        let outcome = factory::start(plan, &hypervisor, &bench.spec, budgets(), &bench.log).await;
        let error = outcome.unwrap_err().to_string();
        assert!(error.contains(text), "{fault:?}: {error}");
        assert_eq!(
            hypervisor.alive.load(Ordering::SeqCst),
            0,
            "{fault:?} left a VM"
        );
        assert_eq!(
            std::fs::read_dir(&bench.spec.run_dir).unwrap().count(),
            0,
            "{fault:?}"
        );
    }
}

//! Starts on a faked VMM: whatever goes wrong with a template, the VM starts, by booting, with
//! the reason, and nothing is left of the attempt.

mod support;

use std::{fs::Permissions, os::unix::fs::PermissionsExt, path::Path, sync::atomic::Ordering};

use factory::start::{
    FirstDisk, FirstImage, Image, ReasonLabel, Start, StartPath, StartReport, Survey, Timeline, Way,
};
use hypervisors::MemoryBacking;
use support::{Bench, Fault, GuestFault, can_mount};

#[tokio::test]
async fn a_matching_template_is_restored_privately_and_made_unique() {
    if !can_mount() {
        return;
    }
    let bench = Bench::new();
    bench.init(None, false).await.unwrap();
    let hypervisor = bench.hypervisor(None);
    let started = bench.start(&hypervisor).await;

    let StartReport {
        path,
        template_key,
        reason,
        phases,
        proof,
        ..
    } = &started.report;
    assert_eq!(
        (*path, proof.as_str()),
        (StartPath::Restored, "loaded"),
        "{reason}"
    );
    let names: Vec<_> = phases.iter().map(|phase| &*phase.name).collect();
    assert_eq!(
        names,
        ["vm.restore", "vm.resume", "vm.connect", "vm.unique", "vm"]
    );
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
            "Timed out after 500ms while loading the saved state",
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
            "VMM ended while connecting to the guest's agent",
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
            "Timed out after 500ms while making the clone unique",
        ),
        (
            Fault::RestoredGuest(GuestFault::ClockRefused),
            "setting the guest's clock",
        ),
    ];
    for (fault, reason) in faults {
        bench.init(None, true).await.unwrap();
        let hypervisor = bench.hypervisor(Some(fault));
        let own = bench.spec.run_dir.join("state.json");
        std::fs::write(&own, b"the sandbox's own").unwrap();

        let started = bench.start(&hypervisor).await;
        let record = &started.report;
        assert_eq!(record.path, StartPath::Booted, "{fault:?}");
        assert!(
            record.reason.contains(reason),
            "{fault:?}: {}",
            record.reason
        );
        assert_eq!(record.reason_label, ReasonLabel::RestoreFailed);
        assert!(record.template_key.is_some());
        assert_eq!(
            hypervisor.alive.load(Ordering::SeqCst),
            1,
            "{fault:?} left a VM"
        );
        assert!(own.exists(), "{fault:?} removed what was not its own");
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
        labels.push(started.report.reason_label);
        started.vm.kill().await.unwrap();
        std::fs::remove_file(bench.spec.run_dir.join("agent.sock")).unwrap();
    }
    let (failed, matched) = (ReasonLabel::RestoreFailed, ReasonLabel::Match);
    assert_eq!(
        labels,
        [
            failed,
            failed,
            matched,
            failed,
            failed,
            failed,
            ReasonLabel::SetAside
        ]
    );

    bench.init(None, true).await.unwrap();
    assert_eq!(bench.start(&good).await.report.path, StartPath::Restored);
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
        assert_eq!(started.report.path, StartPath::Booted, "{text}");
        assert_eq!(
            started.report.reason_label.as_str(),
            label,
            "{}",
            started.report.reason
        );
        assert!(
            started.report.reason.contains(text),
            "{}",
            started.report.reason
        );
        assert_eq!(started.report.proof, "booted");
    }
}

#[tokio::test]
async fn what_is_found_decides() {
    let bench = Bench::new();
    let vmm = bench.hypervisor(None);
    let unable = bench.hypervisor(Some(Fault::CannotRestore));
    let mut off = bench.request();
    off.templates = None;
    let mut unreadable = bench.request();
    unreadable.spec.kernel.kernel = "/nonexistent".into();
    for (request, vmm, expected) in [
        (off, &vmm, ReasonLabel::Disabled),
        (bench.request(), &vmm, ReasonLabel::Absent),
        (unreadable, &vmm, ReasonLabel::Unknown),
        (bench.request(), &unable, ReasonLabel::NotSupported),
    ] {
        let survey = Survey::of(&request, vmm).await;
        match survey.plan().way {
            Way::Boot { reason } => assert_eq!(reason.label(), expected, "{reason}"),
            Way::Restore { key, .. } => panic!("{key} instead of {expected}"),
        }
        assert!(survey.template().is_none());
        assert_eq!(survey.facts().failed, []);
    }
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
        let outcome = bench.try_start(&bench.request(), &hypervisor).await;
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

/// A pod that wants more than its template has.
fn larger(bench: &Bench) -> factory::start::Request {
    let mut request = bench.request();
    request.spec.max_vcpus = 2;
    request.spec.memory.max_mib = 64;
    request.wanted.vcpus = 2;
    request.wanted.memory_mib = 32;
    request
}

#[tokio::test]
async fn a_clone_grows_to_what_its_pod_needs() {
    if !can_mount() {
        return;
    }
    let mut bench = Bench::new();
    (bench.spec.max_vcpus, bench.spec.memory.max_mib) = (2, 64);
    bench.init(None, false).await.unwrap();
    let vmm = bench.hypervisor(None);
    let started = bench.try_start(&larger(&bench), &vmm).await.unwrap();
    assert_eq!(started.report.path, StartPath::Restored);
    assert_eq!(started.size.to_string(), "2 vCPUs, 32 MiB");
    assert_eq!(started.size, started.report.size);
    assert_eq!(*vmm.growth.lock(), ["32 MiB", "2 vCPUs"]);
    assert_eq!(vmm.specs.lock()[0].memory.mib, 4);
}

#[tokio::test]
async fn a_clone_that_does_not_grow_is_ended_and_its_pod_booted_with_all_it_needs() {
    if !can_mount() {
        return;
    }
    let mut bench = Bench::new();
    (bench.spec.max_vcpus, bench.spec.memory.max_mib) = (2, 64);
    bench.init(None, false).await.unwrap();
    for (fault, words) in [
        (Fault::GrowRefused, "refused resize"),
        (
            Fault::RestoredGuest(GuestFault::OnlineRefused),
            "OnlineCPUMem",
        ),
    ] {
        let vmm = bench.hypervisor(Some(fault));
        let started = bench.try_start(&larger(&bench), &vmm).await.unwrap();
        let report = &started.report;
        assert_eq!(report.path, StartPath::Booted, "{fault:?}");
        assert_eq!(report.reason_label, ReasonLabel::NotGrown);
        assert!(report.reason.contains(words), "{}", report.reason);
        assert!(report.template_key.is_some());
        assert_eq!(report.size.to_string(), "2 vCPUs, 32 MiB");
        assert_eq!(vmm.alive.load(Ordering::SeqCst), 1, "the clone was left");
        // The template did nothing wrong.
        let survey = Survey::of(&bench.request(), &vmm).await;
        assert!(matches!(survey.plan().way, Way::Restore { .. }));

        // The second VM's steps begin where the first one's end.
        let steps: Vec<_> = report
            .phases
            .iter()
            .filter(|one| one.name != "vm")
            .collect();
        let names: Vec<_> = steps.iter().map(|step| &*step.name).collect();
        assert_eq!(names[4..], ["vm.failed", "vm.boot", "vm.connect"]);
        for pair in steps.windows(2) {
            let end = pair[0].start_ms + pair[0].ms;
            assert!(pair[1].start_ms >= end - 0.2, "{pair:?}");
        }
        drop(started);
        std::fs::remove_file(bench.spec.run_dir.join("agent.sock")).unwrap();
    }
}

#[tokio::test]
async fn every_way_that_failed_is_named_when_the_last_one_fails_too() {
    if !can_mount() {
        return;
    }
    let bench = Bench::new();
    bench.init(None, false).await.unwrap();
    let vmm = bench.hypervisor(Some(Fault::AllRefused));
    let error = bench.try_start(&bench.request(), &vmm).await.unwrap_err();
    let text = system::error::chain(&error);
    assert_eq!(
        text,
        "Restore failed: loading the saved state: VMM refused load: ordered by the test; the boot \
         after it failed too: The virtual machine was not started: VMM refused boot: ordered by \
         the test"
    );
    assert_eq!(vmm.alive.load(Ordering::SeqCst), 0);
    assert_eq!(std::fs::read_dir(&bench.spec.run_dir).unwrap().count(), 0);
}

#[tokio::test]
async fn an_image_that_is_prepared_in_time_is_in_the_first_slot_of_each_vm() {
    if !can_mount() {
        return;
    }
    let mut bench = Bench::new();
    (bench.spec.slots.count, bench.spec.slots.mib) = (2, 1);
    bench.init(None, false).await.unwrap();
    let request = bench.request();
    for (bytes, expected) in [(1 << 20, FirstDisk::InSlot), (1 << 21, FirstDisk::Later)] {
        let vmm = bench.hypervisor(Some(Fault::LoadRefused));
        let start = Start {
            request: &request,
            vmm: &vmm,
            log: &bench.log,
        };
        let (prepared, first_image) = FirstImage::coming();
        let path = bench.dir.path().join("image");
        prepared
            .send(Image {
                path: path.clone(),
                bytes,
            })
            .unwrap();
        let (survey, mut timeline) = (start.survey().await, Timeline::begin());
        let started = start.run(survey, first_image, &mut timeline).await.unwrap();
        assert_eq!(started.report.first_disk, expected);
        let contents = match expected {
            FirstDisk::InSlot => vec![path],
            FirstDisk::Later => Vec::new(),
        };
        assert_eq!(started.slots.contents, contents);
        assert_eq!(vmm.specs.lock()[0].slots.contents, contents);
        drop(started);
        std::fs::remove_file(bench.spec.run_dir.join("agent.sock")).unwrap();
    }
}

#[tokio::test]
async fn a_start_that_is_dropped_leaves_no_vm() {
    if !can_mount() {
        return;
    }
    let bench = Bench::new();
    bench.init(None, false).await.unwrap();
    for fault in [
        Fault::RestoredGuest(GuestFault::ReseedHangs),
        Fault::LoadHangs,
    ] {
        let vmm = bench.hypervisor(Some(fault));
        let request = bench.request();
        let start = bench.try_start(&request, &vmm);
        let soon = std::time::Duration::from_millis(100);
        assert!(tokio::time::timeout(soon, start).await.is_err());
        assert_eq!(vmm.alive.load(Ordering::SeqCst), 0, "{fault:?}");
        // It is no failure of the template.
        assert!(!bench.template_dir().join("failures").exists());
        let _ = std::fs::remove_file(bench.spec.run_dir.join("agent.sock"));
    }
}

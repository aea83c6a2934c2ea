//! Making, replacing and destroying templates on a faked VMM: nothing is ever left half made.
#![allow(
    clippy::unwrap_used,
    reason = "allowed in tests, of which these are parts"
)]

mod support;

use std::{
    collections::BTreeMap,
    os::unix::fs::{MetadataExt, PermissionsExt},
    path::Path,
    sync::Arc,
    time::Duration,
};

use factory::{
    InitError, NewTemplates, Step, StoreError,
    start::{ReasonLabel, StartPath, Survey},
};
use support::{Bench, Fault, GuestFault, can_mount};

fn mounts_at(path: &Path) -> usize {
    let table = std::fs::read_to_string("/proc/self/mountinfo").unwrap();
    let point = format!(" {} ", path.display());
    table.lines().filter(|line| line.contains(&point)).count()
}

fn nothing_left(bench: &Bench) {
    assert_eq!(mounts_at(bench.store.path()), 0);
    assert!(!bench.store.path().exists());
}

#[tokio::test]
async fn init_makes_a_private_template_and_destroy_leaves_nothing() {
    if !can_mount() {
        return;
    }
    let bench = Bench::new();
    bench.init(None, false).await.unwrap();

    let path = bench.store.path();
    assert_eq!(mounts_at(path), 1);
    assert_eq!(
        path.metadata().unwrap().permissions().mode() & 0o7777,
        0o700
    );
    let memory = path.join("memory").metadata().unwrap();
    assert!(memory.is_file());
    assert_eq!(memory.len(), 4 << 20);
    // A hole would be filled by a pod, and counted as the pod's.
    assert!(memory.blocks() * 512 >= memory.len(), "{memory:?}");
    for entry in std::fs::read_dir(bench.template_dir()).unwrap() {
        let entry = entry.unwrap();
        let mode = entry.metadata().unwrap().permissions().mode() & 0o7777;
        assert_eq!(mode, 0o600, "{:?}", entry.file_name());
    }
    bench.store.list().unwrap()[0]
        .as_ref()
        .unwrap()
        .verify_memory()
        .unwrap();

    bench.store.destroy().await.unwrap();
    nothing_left(&bench);
    bench.store.destroy().await.unwrap();
}

#[tokio::test]
async fn the_template_guest_carries_the_nonce_of_the_manifest() {
    if !can_mount() {
        return;
    }
    let bench = Bench::new();
    let hypervisor = bench.hypervisor(None);
    let never = std::future::pending();
    let made = factory::init(bench.templates(&hypervisor), &|_, _| {}, never);
    let nonce = made.await.unwrap()[0].manifest().nonce.clone();
    let lines = hypervisor.command_lines.lock();
    assert_eq!(*lines, [format!("quiet imprint.template={nonce}")]);
}

#[tokio::test]
async fn a_second_init_is_refused_and_changes_nothing() {
    if !can_mount() {
        return;
    }
    let bench = Bench::new();
    bench.init(None, false).await.unwrap();
    let before = bench.template_dir();
    let error = bench.init(None, false).await.unwrap_err();
    let path = bench.store.path().display();
    let text = format!("There is already a VM template in {path};");
    assert!(error.to_string().starts_with(&text), "{error}");
    assert_eq!(mounts_at(bench.store.path()), 1);
    assert_eq!(bench.template_dir(), before);

    bench.init(None, true).await.unwrap();
    assert_ne!(bench.template_dir(), before);
    assert!(!before.exists());
    assert_eq!(mounts_at(bench.store.path()), 1);
    let linked = bench.store.path().join("memory").canonicalize().unwrap();
    assert_eq!(
        linked,
        bench.template_dir().canonicalize().unwrap().join("memory")
    );
}

#[tokio::test]
async fn a_failed_init_undoes_everything() {
    if !can_mount() {
        return;
    }
    let faults = [
        Fault::BootRefused,
        Fault::BootDies,
        Fault::BootedGuest(GuestFault::Silent),
        Fault::BootedGuest(GuestFault::ReseedRefused),
        Fault::SaveRefused,
        Fault::CannotRestore,
    ];
    for fault in faults {
        let bench = Bench::new();
        bench.init(Some(fault), false).await.unwrap_err();
        nothing_left(&bench);
    }
    let bench = Bench::new();
    bench.init(None, false).await.unwrap();
    let before = bench.template_dir();
    bench
        .init(Some(Fault::SaveRefused), true)
        .await
        .unwrap_err();
    assert_eq!(
        bench.template_dir(),
        before,
        "a failed replacement took the old one with it"
    );
    assert_eq!(std::fs::read_dir(bench.store.path()).unwrap().count(), 2);
}

#[tokio::test]
async fn an_init_that_is_interrupted_undoes_everything() {
    if !can_mount() {
        return;
    }
    for stop_at in [
        Step::Preparing,
        Step::Booting,
        Step::Asking,
        Step::Saving,
        Step::Sealing,
    ] {
        let bench = Bench::new();
        let hypervisor = bench.hypervisor(Some(Fault::BootedGuest(GuestFault::Silent)));
        let stop = Arc::new(tokio::sync::Notify::new());
        let progress = |step, _| {
            if step == stop_at {
                stop.notify_one();
            }
        };
        let new = NewTemplates {
            agent_timeout: Duration::from_millis(300),
            ..bench.templates(&hypervisor)
        };
        let error = factory::init(new, &progress, stop.notified());
        let error = error.await.unwrap_err();
        let expected = match stop_at {
            Step::Saving | Step::Sealing => matches!(error, InitError::Agent(_)),
            _ => matches!(error, InitError::Interrupted),
        };
        assert!(expected, "{stop_at:?}: {error}");
        nothing_left(&bench);
    }
}

#[tokio::test]
async fn what_a_killed_init_left_is_cleared_by_the_next_command() {
    if !can_mount() {
        return;
    }
    let bench = Bench::new();
    bench.init(None, false).await.unwrap();
    let path = bench.store.path().to_owned();
    // A half-made template whose VMM still runs, a half-removed one, and a half-made link.
    let unfinished = path.join(".building-0123");
    std::fs::create_dir(&unfinished).unwrap();
    std::fs::write(unfinished.join("state"), b"x").unwrap();
    let half_removed = path.join("0123-4567");
    std::fs::create_dir(&half_removed).unwrap();
    std::os::unix::fs::symlink("nowhere", path.join(".memory-0123")).unwrap();

    bench.init(None, true).await.unwrap();
    assert!(!unfinished.exists() && !half_removed.exists());
    assert!(path.join(".memory-0123").symlink_metadata().is_err());
    std::fs::create_dir(&unfinished).unwrap();
    bench.store.destroy().await.unwrap();
    nothing_left(&bench);
}

#[tokio::test]
async fn a_path_with_another_use_is_refused_untouched() {
    if !can_mount() {
        return;
    }
    let bench = Bench::new();
    let path = bench.store.path();
    std::fs::create_dir_all(path.parent().unwrap()).unwrap();
    std::fs::write(path, b"a file").unwrap();
    let error = bench.init(None, false).await.unwrap_err();
    assert!(
        error.to_string().contains("it is not a directory"),
        "{error}"
    );
    assert_eq!(std::fs::read(path).unwrap(), b"a file");

    std::fs::remove_file(path).unwrap();
    std::fs::create_dir(path).unwrap();
    std::fs::write(path.join("precious"), b"x").unwrap();
    let error = bench.init(None, false).await.unwrap_err();
    assert!(error.to_string().contains("not empty"), "{error}");
    assert!(bench.store.destroy().await.is_err());
    assert!(path.join("precious").exists());

    let proc = factory::TemplateStore::at("/proc");
    assert!(matches!(
        proc.destroy().await,
        Err(StoreError::Unusable { .. })
    ));
}

#[tokio::test]
async fn only_one_factory_command_works_at_a_time() {
    if !can_mount() {
        return;
    }
    let bench = Bench::new();
    let parent = bench.store.path().parent().unwrap().to_owned();
    std::fs::create_dir_all(&parent).unwrap();
    let other = std::fs::File::open(&parent).unwrap();
    other.lock().unwrap();
    let error = bench.init(None, false).await.unwrap_err();
    assert!(
        matches!(error, InitError::Store(StoreError::Busy { .. })),
        "{error}"
    );
    assert!(matches!(
        bench.store.destroy().await,
        Err(StoreError::Busy { .. })
    ));
}

#[tokio::test]
async fn destroy_waits_for_a_start_that_has_begun() {
    if !can_mount() {
        return;
    }
    let bench = Bench::new();
    bench.init(None, false).await.unwrap();
    let hypervisor = bench.hypervisor(None);
    let request = bench.request();
    let survey = Survey::of(&request, &hypervisor).await;
    let dir = bench.template_dir();

    let store = bench.store.clone();
    let destroying = tokio::spawn(async move { store.destroy().await });
    let started = bench.run(&request, &hypervisor, survey).await;
    assert_eq!(started.unwrap().report.path, StartPath::Restored);
    destroying.await.unwrap().unwrap();
    assert!(!dir.exists());
    nothing_left(&bench);
}

/// Starts one VM after another, each in a run directory of its own, until `stop`; counts the
/// reasons.
async fn keep_starting(
    bench: Arc<Bench>,
    worker: usize,
    stop: tokio::sync::watch::Receiver<bool>,
) -> BTreeMap<ReasonLabel, usize> {
    let hypervisor = bench.hypervisor(None);
    let mut labels = BTreeMap::new();
    for number in 0.. {
        if *stop.borrow() {
            break;
        }
        let mut spec = bench.spec.clone();
        spec.run_dir = bench.dir.path().join(format!("run-{worker}-{number}"));
        std::fs::create_dir(&spec.run_dir).unwrap();
        let mut request = bench.request_of(&spec);
        request.timeouts = factory::start::Timeouts::default();
        let started = bench.try_start(&request, &hypervisor).await.unwrap();
        *labels.entry(started.report.reason_label).or_default() += 1;
        started.vm.kill().await.unwrap();
    }
    labels
}

#[tokio::test(flavor = "multi_thread")]
async fn starts_go_on_while_templates_come_and_go() {
    if !can_mount() {
        return;
    }
    let bench = Arc::new(Bench::new());
    let (stop, stopped) = tokio::sync::watch::channel(false);
    let workers: Vec<_> = (0..8)
        .map(|worker| tokio::spawn(keep_starting(bench.clone(), worker, stopped.clone())))
        .collect();
    for _ in 0..5 {
        bench.init(None, false).await.unwrap();
        for _ in 0..3 {
            bench.init(None, true).await.unwrap();
        }
        bench.store.destroy().await.unwrap();
    }
    stop.send_replace(true);
    let mut labels = BTreeMap::new();
    for worker in workers {
        for (label, count) in worker.await.unwrap() {
            *labels.entry(label).or_insert(0) += count;
        }
    }
    eprintln!("starts: {labels:?}");
    assert!(labels.contains_key(&ReasonLabel::Match), "{labels:?}");
    let other: Vec<_> = labels
        .keys()
        .filter(|label| ![ReasonLabel::Match, ReasonLabel::Absent].contains(label))
        .collect();
    assert!(other.is_empty(), "{labels:?}");
    nothing_left(&bench);
}

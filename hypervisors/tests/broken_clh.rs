//! Faults of Cloud Hypervisor's API, each injected into each call, on a fake that speaks as a real
//! one: every call ends with an error that says what happened, and nothing is left. The list is in
//! `docs/faults.md`.

#![allow(missing_docs, clippy::expect_used, clippy::panic, clippy::unwrap_used)]

mod fake;

use std::{fs, path::Path, sync::Arc, time::Duration};

use fake::Fake;
use hypervisors::{
    DiskSpec, Error, Hypervisor, Vm,
    clh::{SAVED_CONFIG, SAVED_STATE},
};
use tokio::time::timeout;

/// Faults after which there is no answer, and what kind of error each is.
const BROKEN: [(&str, Kind); 7] = [
    ("refuse", Kind::Refused),
    ("close", Kind::Protocol),
    ("exit", Kind::Exited),
    ("die", Kind::Exited),
    ("half-head", Kind::Protocol),
    ("no-http", Kind::Protocol),
    ("endless", Kind::Protocol),
];

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Refused,
    Protocol,
    Exited,
}

impl Kind {
    fn of(error: &Error) -> Self {
        match error {
            Error::Refused { .. } => Self::Refused,
            Error::Protocol(_) => Self::Protocol,
            Error::Exited { .. } => Self::Exited,
            other => panic!("{other:?}"),
        }
    }
}

/// What can be half is only an answer that has a value.
fn faults(has_value: bool) -> impl Iterator<Item = (&'static str, Kind)> {
    let half = ["half-body", "half-json"].map(|fault| (fault, Kind::Protocol));
    BROKEN
        .into_iter()
        .chain(half.into_iter().filter(move |_| has_value))
}

#[tokio::test]
async fn a_probe_that_fails_says_why() {
    for (fault, _) in faults(true) {
        let fake = Fake::new(&[("vmm.ping", fault)]);
        let error = fake.probe().await.unwrap_err();
        assert!(matches!(error, Error::Unusable { .. }), "{fault}: {error}");
        fake.assert_no_process();
    }
    Fake::new(&[("vmm.ping", "slow")]).probe().await.unwrap();
}

#[tokio::test]
async fn a_boot_that_fails_leaves_nothing() {
    for (call, has_value) in [
        ("vm.create", false),
        ("vm.add-net", false),
        ("vm.boot", false),
        ("vm.info", true),
    ] {
        for (fault, kind) in faults(has_value) {
            let fake = Fake::new(&[(call, fault)]);
            let clh = fake.probe().await.unwrap();
            let spec = fake.spec_with_nic("a");
            let error = clh.boot(&spec).await.map(drop).expect_err(fault);
            assert_eq!(Kind::of(&error), kind, "{call} {fault}: {error}");
            fake.assert_nothing_left("a");
        }
    }
}

#[tokio::test]
async fn a_restore_that_fails_leaves_nothing() {
    for (call, has_value) in [("vm.restore", false), ("vm.info", true)] {
        for (fault, kind) in faults(has_value) {
            let fake = Fake::new(&[(call, fault)]);
            let clh = fake.probe().await.unwrap();
            let (spec, saved) = fake.saved("a");
            let restored = clh.restore(&spec, &saved).await.map(drop);
            let error = restored.expect_err(fault);
            assert_eq!(Kind::of(&error), kind, "{call} {fault}: {error}");
            fake.assert_nothing_left("a");
            if call == "vm.restore" {
                let booted = clh.boot(&spec).await.unwrap();
                assert_eq!(booted.disk_slot(0).is_some(), clh.capabilities().disk_slots);
                booted.kill().await.unwrap();
                fake.assert_nothing_left("a");
            }
        }
    }
}

#[tokio::test]
async fn a_saved_vm_with_a_network_interface_takes_the_tap_of_its_clone() {
    let fake = Fake::new(&[]);
    let clh = fake.probe().await.unwrap();
    let vm = clh.boot(&fake.spec_with_nic("a")).await.unwrap();
    let place = vm.nic().unwrap();
    let saved = fake.path("saving");
    vm.pause().await.unwrap();
    vm.save(&saved).await.unwrap();
    vm.kill().await.unwrap();
    // Neither the VMM nor the guest tells anybody of a clone.
    let state = fs::read_to_string(saved.join(SAVED_STATE)).unwrap();
    assert!(state.contains(r#"\"acked_features\":1,"#), "{state}");

    let files = [SAVED_CONFIG, SAVED_STATE].map(|name| saved.join(name));
    let before = files.each_ref().map(|path| fs::read(path).unwrap());
    let vm = clh.restore(&fake.spec_with_nic("b"), &saved).await.unwrap();
    assert_eq!(vm.nic(), Some(place));
    let after = files.each_ref().map(|path| fs::read(path).unwrap());
    assert!(before == after, "a clone changed what it was restored from");
    vm.kill().await.unwrap();
    fake.assert_nothing_left("b");

    let without = clh.restore(&fake.spec("c"), &saved).await.map(drop);
    assert!(matches!(without, Err(Error::InvalidSpec(_))), "{without:?}");
    fake.assert_nothing_left("c");
}

#[tokio::test]
async fn a_saved_configuration_that_is_damaged_or_a_link_is_refused() {
    let fake = Fake::new(&[]);
    let clh = fake.probe().await.unwrap();
    let vm = clh.boot(&fake.spec("a")).await.unwrap();
    let saved = fake.path("saving");
    vm.pause().await.unwrap();
    vm.save(&saved).await.unwrap();
    vm.kill().await.unwrap();
    let config = saved.join(SAVED_CONFIG);
    let whole = fs::read(&config).unwrap();
    for damaged in [
        &whole[..whole.len() / 2],
        b"",
        b"{}",
        &[b' '; (1 << 20) + 1],
    ] {
        fs::write(&config, damaged).unwrap();
        let error = clh.restore(&fake.spec("b"), &saved).await.map(drop);
        let error = error.unwrap_err().to_string();
        assert!(error.contains(SAVED_CONFIG), "{error}");
        fake.assert_nothing_left("b");
    }
    fs::write(fake.path("elsewhere"), &whole).unwrap();
    fs::remove_file(&config).unwrap();
    std::os::unix::fs::symlink(fake.path("elsewhere"), &config).unwrap();
    let linked = clh.restore(&fake.spec("b"), &saved).await.map(drop);
    assert!(matches!(linked, Err(Error::Io { .. })), "{linked:?}");
    fake.assert_nothing_left("b");
}

#[tokio::test]
async fn a_call_that_fails_leaves_a_vm_that_can_be_called_or_is_gone() {
    for (call, has_value) in [
        ("vm.pause", false),
        ("vm.snapshot", false),
        ("vm.add-disk", true),
        ("vm.remove-device", false),
        ("vm.resize", false),
    ] {
        for (fault, kind) in faults(has_value) {
            let fake = Fake::new(&[(call, fault)]);
            let clh = fake.probe().await.unwrap();
            let vm = clh.boot(&fake.spec("a")).await.unwrap();
            let error = make(call, &vm, &fake).await.expect_err(fault);
            assert_eq!(Kind::of(&error), kind, "{call} {fault}: {error}");
            assert_eq!(fs::read_dir(fake.path("saving")).unwrap().count(), 0);
            if kind == Kind::Exited {
                assert!(timeout(Duration::from_secs(10), vm.wait()).await.is_ok());
            } else {
                // The fault is over.
                make(call, &vm, &fake).await.unwrap();
                vm.kill().await.unwrap();
            }
            fake.assert_nothing_left("a");
        }
    }
}

#[tokio::test]
async fn slow_answers_are_waited_for() {
    let calls = [
        "vm.create",
        "vm.boot",
        "vm.pause",
        "vm.snapshot",
        "vm.add-disk",
    ];
    let fake = Fake::new(&calls.map(|call| (call, "slow")));
    let clh = fake.probe().await.unwrap();
    let vm = clh.boot(&fake.spec("a")).await.unwrap();
    for call in ["vm.add-disk", "vm.pause", "vm.snapshot"] {
        make(call, &vm, &fake).await.unwrap();
    }
    vm.kill().await.unwrap();
    fake.assert_nothing_left("a");
}

#[tokio::test]
async fn a_refusal_keeps_every_cause() {
    let fake = Fake::new(&[("vm.boot", "refuse")]);
    let clh = fake.probe().await.unwrap();
    let error = clh.boot(&fake.spec("a")).await.map(drop).unwrap_err();
    assert_eq!(
        error.to_string(),
        "VMM refused vm.boot: Error from API: A test wanted a refusal: Cause of the causes"
    );
}

#[tokio::test]
async fn a_guest_that_resets_ends_its_vm() {
    let fake = Fake::new(&[("vm.resize", "reset")]);
    let clh = fake.probe().await.unwrap();
    let vm = clh.boot(&fake.spec("a")).await.unwrap();
    let _ = vm.resize_vcpus(2).await;
    let exit = timeout(Duration::from_secs(10), vm.wait()).await.unwrap();
    assert_eq!(exit.code, Some(137));
    assert_eq!(exit.last_words, "the guest has reset itself");
    fake.assert_nothing_left("a");
}

#[tokio::test]
async fn an_old_version_is_refused_with_the_reason() {
    let fake = Fake::new(&[("vmm.ping", "old")]);
    let error = fake.probe().await.unwrap_err().to_string();
    assert!(
        error.contains("it is version v48.0, at least v51 is needed"),
        "{error}"
    );
    fake.assert_no_process();
}

/// Makes the call that is called so on the wire.
async fn make(call: &str, vm: &Arc<dyn Vm>, fake: &Fake) -> Result<(), Error> {
    let saving = fake.path("saving");
    fs::create_dir_all(&saving).unwrap();
    let disk = |id: &str| DiskSpec {
        id: id.into(),
        path: fake.path("disk"),
        read_only: true,
    };
    match call {
        "vm.pause" => vm.pause().await,
        "vm.snapshot" => {
            vm.pause().await?;
            save(vm, &saving).await
        }
        "vm.add-disk" => vm.add_disk(&disk("a")).await.map(drop),
        "vm.remove-device" => {
            // The second attempt finds it there.
            let _ = vm.add_disk(&disk("b")).await;
            vm.remove_disk("b").await
        }
        _ => vm.resize_vcpus(2).await,
    }
}

async fn save(vm: &Arc<dyn Vm>, dir: &Path) -> Result<(), Error> {
    vm.save(dir).await?;
    for file in fs::read_dir(dir).unwrap() {
        fs::remove_file(file.unwrap().path()).unwrap();
    }
    Ok(())
}

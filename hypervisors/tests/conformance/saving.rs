//! Save and restore.

use std::{fs, path::Path, time::Instant};

use hypervisors::Error;

use crate::subject::Subject;

pub async fn a_vm_is_restored_more_than_once_and_its_memory_file_stays(subject: &Subject) {
    if !subject.saves() {
        return;
    }
    let saved = subject.template(|spec| spec).await;
    let state = fs::metadata(saved.join(subject.state_file())).unwrap();
    assert!(state.len() < 4 << 20, "the state holds memory");
    let before = fs::read(subject.path("memory")).unwrap();
    let mut clones = Vec::new();
    for id in ["one", "two", "three"] {
        let spec = subject.spec_with_file(id, false);
        let start = Instant::now();
        let vm = subject.restore(&spec, &saved).await;
        let restored = start.elapsed();
        let origin = vm.origin().await.unwrap();
        assert!(origin.contains("completed"), "{origin}");
        let resuming = Instant::now();
        vm.resume().await.unwrap();
        let resumed = resuming.elapsed();
        subject.answer(&*vm).await;
        eprintln!(
            "process and restore {restored:?}, resume {resumed:?}, first answer {:?}; {origin}",
            start.elapsed()
        );
        clones.push(vm);
    }
    for vm in &clones {
        subject.answer(&**vm).await;
        vm.kill().await.unwrap();
    }
    let after = fs::read(subject.path("memory")).unwrap();
    assert!(before == after, "a clone changed the memory file");
    assert_eq!(subject.leftovers("one"), [] as [std::path::PathBuf; 0]);
}

pub async fn memory_in_no_file_is_saved_too(subject: &Subject) {
    if !subject.saves() {
        return;
    }
    let vm = subject.boot(&subject.spec("source")).await;
    let saved = subject.save(&*vm).await;
    let vm = subject.restore(&subject.spec("copy"), &saved).await;
    vm.resume().await.unwrap();
    subject.answer(&*vm).await;
    vm.kill().await.unwrap();
}

pub async fn a_running_vm_is_not_saved(subject: &Subject) {
    if !subject.saves() {
        return;
    }
    let vm = subject.hypervisor.boot(&subject.spec("a")).await.unwrap();
    let saved = subject.path("saved");
    fs::create_dir(&saved).unwrap();
    let error = vm.save(&saved).await.unwrap_err();
    assert!(matches!(error, Error::Refused { .. }), "{error}");
    assert_empty(&saved);
    vm.pause().await.unwrap();
    let missing = vm.save(&subject.path("missing")).await.unwrap_err();
    eprintln!("{missing}");
    vm.save(&saved).await.unwrap();
    vm.kill().await.unwrap();
}

pub async fn a_directory_with_a_saved_vm_gets_no_second(subject: &Subject) {
    let vm = subject.hypervisor.boot(&subject.spec("a")).await.unwrap();
    vm.pause().await.unwrap();
    let saved = subject.path("saved");
    fs::create_dir(&saved).unwrap();
    let state = saved.join(subject.state_file());
    fs::write(&state, "mine").unwrap();
    let error = vm.save(&saved).await.unwrap_err();
    assert!(matches!(error, Error::Io { .. }), "{error}");
    assert_eq!(fs::read(&state).unwrap(), b"mine");
    assert_eq!(fs::read_dir(&saved).unwrap().count(), 1);
    vm.kill().await.unwrap();
}

pub async fn damaged_files_are_refused(subject: &Subject) {
    if !subject.saves() {
        return;
    }
    let saved = subject.template(|spec| spec).await;
    let names: Vec<_> = fs::read_dir(&saved)
        .unwrap()
        .map(|entry| entry.unwrap().file_name())
        .collect();
    for name in names {
        let path = saved.join(&name);
        let whole = fs::read(&path).unwrap();
        let damaged = [
            b"".to_vec(),
            whole[..whole.len() / 2].to_vec(),
            b"none".to_vec(),
        ];
        for (number, content) in damaged.into_iter().enumerate() {
            let spec = subject.spec_with_file("clone", false);
            fs::write(&path, content).unwrap();
            let refused = subject.hypervisor.restore(&spec, &saved).await;
            let error = refused.map(drop).unwrap_err();
            eprintln!("{} {number}: {error}", name.display());
            assert_eq!(subject.leftovers("clone"), [] as [std::path::PathBuf; 0]);
            subject.assert_nothing_left();
            fs::write(&path, &whole).unwrap();
        }
    }
}

fn assert_empty(dir: &Path) {
    assert_eq!(fs::read_dir(dir).unwrap().count(), 0);
}

//! Disks whose content is exchanged while the guest runs.

use std::{
    fs,
    path::{Path, PathBuf},
    time::Instant,
};

use hypervisors::{DiskSlots, Error, Vm, VmSpec};

use crate::subject::Subject;

const MIB: u32 = 4;
const BYTES: u64 = (MIB as u64) << 20;
const COUNT: u32 = 3;

fn image(subject: &Subject, name: &str, bytes: u64) -> PathBuf {
    let path = subject.path(name);
    fs::File::create(&path).unwrap().set_len(bytes).unwrap();
    path
}

fn slots(spec: VmSpec, contents: &[&Path]) -> VmSpec {
    let slots = DiskSlots {
        count: COUNT,
        mib: MIB,
        contents: contents.iter().map(|path| (*path).to_owned()).collect(),
    };
    VmSpec { slots, ..spec }
}

/// Whether an image is shown by a disk of this VM: the VMM has it open, or a loop device that the
/// VMM has open is on it.
fn shown(vm: &dyn Vm, image: &Path) -> bool {
    let open = fs::read_dir(format!("/proc/{}/fd", vm.process().pid)).unwrap();
    let mut files = open
        .flatten()
        .filter_map(|fd| fs::read_link(fd.path()).ok());
    files.any(|file| {
        let device = file.strip_prefix("/dev").unwrap_or(&file).display();
        let behind = fs::read_to_string(format!("/sys/block/{device}/loop/backing_file"));
        file == image || behind.is_ok_and(|behind| Path::new(behind.trim()) == image)
    })
}

fn refused<T: std::fmt::Debug>(result: Result<T, Error>, words: &str) {
    let error = result.unwrap_err().to_string();
    assert!(error.contains(words), "{error}");
}

/// The content of the first slot may stay as long as its VM.
async fn emptied(vm: &dyn Vm, first: &Path) {
    match vm.empty_slot(0).await {
        Ok(()) => {
            assert!(!shown(vm, first));
            vm.fill_slot(0, first).await.unwrap();
        }
        refusal => refused(refusal, "no loop device behind it"),
    }
    assert!(shown(vm, first));
}

/// All but the first slot are empty before and after.
async fn exchange(subject: &Subject, vm: &dyn Vm, first: &Path) {
    assert!(shown(vm, first));
    emptied(vm, first).await;
    let places: Vec<_> = (0..COUNT).filter_map(|slot| vm.disk_slot(slot)).collect();
    assert_eq!(places.len(), COUNT as usize);
    assert!(
        places
            .iter()
            .all(|place| places.iter().filter(|other| *other == place).count() == 1)
    );
    assert_eq!(vm.disk_slot(COUNT), None);

    let other = image(subject, "other", 2 * BYTES);
    let short = image(subject, "short", BYTES - 1);
    refused(vm.fill_slot(0, &other).await, "it shows an image");
    refused(vm.empty_slot(1).await, "it shows no image");
    refused(vm.fill_slot(COUNT, &other).await, "there is no such slot");
    refused(vm.fill_slot(1, &short).await, "no regular file of at least");
    assert!(!shown(vm, &other));

    let start = Instant::now();
    vm.fill_slot(1, &other).await.unwrap();
    let filled = start.elapsed();
    assert!(shown(vm, &other));
    vm.fill_slot(2, &other).await.unwrap();
    vm.empty_slot(1).await.unwrap();
    assert!(shown(vm, &other));
    vm.empty_slot(2).await.unwrap();
    assert!(!shown(vm, &other));
    eprintln!("slot at {} filled in {filled:?}", places[1]);
}

/// Says so where what is in a slot cannot be exchanged.
fn possible(subject: &Subject) -> bool {
    let possible = subject.hypervisor.capabilities().disk_slots;
    if !possible {
        eprintln!("SKIPPED: this VMM cannot exchange what is in a slot here");
    }
    possible
}

pub async fn what_is_in_a_slot_is_exchanged(subject: &Subject) {
    if !possible(subject) {
        return;
    }
    let first = image(subject, "first", BYTES);
    let vm = subject.boot(&slots(subject.spec("a"), &[&first])).await;
    exchange(subject, &*vm, &first).await;
    vm.kill().await.unwrap();
    let mut many = slots(subject.spec("b"), &[]);
    many.slots.count = 17;
    let many = subject.hypervisor.boot(&many).await.map(drop);
    refused(many, "17 disk slots");
    let short = image(subject, "short", BYTES - 1);
    let short = slots(subject.spec("b"), &[&short]);
    let short = subject.hypervisor.boot(&short).await.map(drop);
    refused(short, "no regular file of at least");
}

pub async fn each_clone_has_slots_of_its_own(subject: &Subject) {
    if !subject.saves() || !possible(subject) {
        return;
    }
    let template = slots(subject.spec_with_file("template", true), &[]);
    let vm = subject.boot(&template).await;
    let place = vm.disk_slot(0).unwrap();
    let saved = subject.save(&*vm).await;
    let mut clones = Vec::new();
    for id in ["one", "two"] {
        let first = image(subject, id, BYTES);
        let spec = slots(
            subject.spec_with_file(&format!("vm-{id}"), false),
            &[&first],
        );
        let vm = subject.restore(&spec, &saved).await;
        vm.resume().await.unwrap();
        subject.answer(&*vm).await;
        assert_eq!(vm.disk_slot(0).as_ref(), Some(&place));
        exchange(subject, &*vm, &first).await;
        clones.push((vm, first));
    }
    assert!(!shown(&*clones[0].0, &clones[1].1));
    for (vm, _) in clones {
        vm.kill().await.unwrap();
    }
}

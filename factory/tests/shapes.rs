//! Several templates side by side, on a faked VMM: made together, chosen by size.

#![allow(
    clippy::unwrap_used,
    reason = "allowed in tests, of which these are parts"
)]

mod support;

use std::sync::atomic::Ordering;

use factory::{
    InitError, NewTemplates, Step,
    start::{ReasonLabel, StartPath},
};
use hypervisors::{MemoryBacking, VmSpec};
use support::{Bench, FakeHypervisor, Fault, can_mount};

fn spec(bench: &Bench, vcpus: u32, mib: u32) -> VmSpec {
    let mut spec = bench.spec.clone();
    (spec.vcpus, spec.max_vcpus) = (vcpus, 4);
    (spec.memory.mib, spec.memory.max_mib) = (mib, 64);
    spec
}

async fn init(
    bench: &Bench,
    hypervisor: &FakeHypervisor,
    specs: &[VmSpec],
    replace: bool,
) -> Result<usize, InitError> {
    let new = NewTemplates {
        specs,
        replace,
        ..bench.templates(hypervisor)
    };
    let made = factory::init(new, &|_, _| {}, std::future::pending());
    made.await.map(|templates| templates.len())
}

#[tokio::test]
async fn a_pod_gets_the_smallest_template_that_holds_it() {
    if !can_mount() {
        return;
    }
    let bench = Bench::new();
    let hypervisor = bench.hypervisor(None);
    let shapes = [(2, 8), (1, 4), (1, 16)].map(|(vcpus, mib)| spec(&bench, vcpus, mib));
    assert_eq!(init(&bench, &hypervisor, &shapes, false).await.unwrap(), 3);
    assert_eq!(bench.store.list().unwrap().len(), 3);

    for (asked, got) in [
        ((1, 4), Some((1, 4))),
        ((1, 3), Some((1, 4))),
        ((1, 5), Some((2, 8))),
        ((2, 1), Some((2, 8))),
        ((1, 9), Some((1, 16))),
        ((2, 9), None),
        ((1, 17), None),
    ] {
        let wanted = spec(&bench, asked.0, asked.1);
        let request = bench.request_of(&wanted);
        let started = bench.try_start(&request, &hypervisor).await.unwrap();
        let record = started.report;
        let shape = (record.size.vcpus, record.size.memory_mib);
        match got {
            Some(got) => {
                assert_eq!(
                    record.path,
                    StartPath::Restored,
                    "{asked:?}: {}",
                    record.reason
                );
                assert_eq!(shape, got, "{asked:?}");
                let backings = hypervisor.specs.lock();
                let restored = backings.last().unwrap();
                assert_eq!((restored.vcpus, restored.memory.mib), got);
                assert!(matches!(
                    &restored.memory.backing,
                    MemoryBacking::File { shared: false, path }
                        if path.metadata().unwrap().len() == u64::from(got.1) << 20
                ));
            }
            None => {
                assert_eq!(record.path, StartPath::Booted, "{asked:?}");
                assert_eq!(shape, asked);
                assert_eq!(
                    record.reason_label,
                    ReasonLabel::Mismatch,
                    "{}",
                    record.reason
                );
            }
        }
        std::fs::remove_file(bench.spec.run_dir.join("agent.sock")).unwrap();
    }
}

#[tokio::test]
async fn a_damaged_template_gives_way_to_the_next_larger_one() {
    if !can_mount() {
        return;
    }
    let bench = Bench::new();
    let hypervisor = bench.hypervisor(None);
    let shapes = [(1, 4), (1, 8)].map(|(vcpus, mib)| spec(&bench, vcpus, mib));
    init(&bench, &hypervisor, &shapes, false).await.unwrap();
    let templates = bench.store.list().unwrap();
    let small = templates
        .iter()
        .flatten()
        .find(|one| one.size().memory_mib == 4);
    std::fs::write(small.unwrap().dir().join("state"), b"STATE").unwrap();
    drop(templates);

    let started = bench.start(&hypervisor).await;
    assert_eq!(started.report.path, StartPath::Restored);
    assert_eq!(started.size.memory_mib, 8);
}

#[tokio::test]
async fn templates_are_made_all_or_none() {
    if !can_mount() {
        return;
    }
    let bench = Bench::new();
    let shapes = [(1, 4), (1, 8)].map(|(vcpus, mib)| spec(&bench, vcpus, mib));
    let failing = bench.hypervisor(Some(Fault::SecondSaveRefused));
    let error = init(&bench, &failing, &shapes, false).await.unwrap_err();
    assert!(
        matches!(
            error,
            InitError::Vmm {
                step: Step::Saving,
                ..
            }
        ),
        "{error}"
    );
    assert_eq!(failing.alive.load(Ordering::SeqCst), 0);
    assert!(!bench.store.path().exists(), "the first one was left");

    // With old ones there, those stay.
    let good = bench.hypervisor(None);
    init(&bench, &good, &shapes[..1], false).await.unwrap();
    let failing = bench.hypervisor(Some(Fault::SecondSaveRefused));
    init(&bench, &failing, &shapes, true).await.unwrap_err();
    let left = bench.store.list().unwrap();
    assert_eq!(left.len(), 1);
    assert_eq!(left[0].as_ref().unwrap().size().memory_mib, 4);
    drop(left);

    assert_eq!(init(&bench, &good, &shapes, true).await.unwrap(), 2);
    assert_eq!(bench.store.list().unwrap().len(), 2);
}

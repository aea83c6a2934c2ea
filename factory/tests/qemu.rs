//! Templates on a real QEMU with the real guest. Skipped, loudly, where either is missing.

#![allow(clippy::panic, reason = "allowed in tests, of which these are parts")]

mod real;

use std::fs::OpenOptions;

use factory::{
    Unusable,
    start::{BootReason, StartPath, Survey, Way},
};
use real::Bench;

/// Why a VM is booted; none if it is restored.
fn reason(survey: &Survey) -> Option<BootReason> {
    match survey.plan().way {
        Way::Boot { reason } => Some(reason),
        Way::Restore { .. } => None,
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn clones_are_restored_at_once_and_leave_the_template_as_it_was() {
    let Some(bench) = Bench::new().await else {
        return;
    };
    bench.init().await;
    assert_eq!(bench.processes(), 0, "the source VM was left");
    assert!(bench.store.path().join("memory").is_file());

    let (a, b) = (bench.spec("a"), bench.spec("b"));
    let (found_a, found_b) = tokio::join!(bench.survey(&a), bench.survey(&b));
    let (one, two) = tokio::join!(bench.run(found_a, &a), bench.run(found_b, &b));
    for started in [&one, &two] {
        assert_eq!(
            started.report.path,
            StartPath::Restored,
            "{}",
            started.report.reason
        );
        assert!(
            started.report.proof.contains("incoming"),
            "{}",
            started.report.proof
        );
    }
    let templates = bench.store.list().unwrap();
    templates[0].as_ref().unwrap().verify_memory().unwrap();
    drop(templates);

    let mut larger = bench.spec("larger");
    larger.memory.mib += 64;
    larger.memory.max_mib += 64;
    assert_eq!(
        reason(&bench.survey(&larger).await).unwrap().to_string(),
        "Template does not match: memory in MiB: template has 192, wanted 256; memory at most in \
         MiB: template has 192, wanted 256"
    );

    bench.store.destroy().await.unwrap();
    assert!(!bench.store.path().exists());
    one.agent.check().await.unwrap();
    let absent = reason(&bench.survey(&a).await).unwrap();
    assert!(
        matches!(absent, BootReason::NoTemplate(Unusable::Absent { .. })),
        "{absent}"
    );
    one.vm.kill().await.unwrap();
    two.vm.kill().await.unwrap();
    assert_eq!(bench.processes(), 0);
    assert_eq!(std::fs::read_dir(&a.run_dir).unwrap().count(), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_state_that_qemu_refuses_ends_booted() {
    let Some(bench) = Bench::new().await else {
        return;
    };
    bench.init().await;
    let spec = bench.spec("pod");
    let survey = bench.survey(&spec).await;
    let state = survey.template().unwrap().dir().join("state");

    // After the check that the survey makes: QEMU itself meets the damage.
    let length = state.metadata().unwrap().len();
    OpenOptions::new()
        .write(true)
        .open(&state)
        .unwrap()
        .set_len(length / 2)
        .unwrap();
    let started = bench.run(survey, &spec).await;
    assert_eq!(started.report.path, StartPath::Booted);
    assert!(
        started.report.reason.contains("loading the saved state"),
        "{}",
        started.report.reason
    );
    assert_eq!(bench.processes(), 1, "the failed restore was left");
    started.vm.kill().await.unwrap();

    // And by the check.
    let damaged = reason(&bench.survey(&spec).await).unwrap();
    assert!(damaged.to_string().contains("bytes, not"), "{damaged}");
    bench.store.destroy().await.unwrap();
}

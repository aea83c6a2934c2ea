//! Templates on a real QEMU with the real guest. Skipped, loudly, where either is missing.

mod real;

use std::fs::OpenOptions;

use factory::{StartPath, StartPlan, Unfit};
use real::Bench;

#[tokio::test(flavor = "multi_thread")]
async fn clones_are_restored_at_once_and_leave_the_template_as_it_was() {
    let Some(bench) = Bench::new().await else {
        return;
    };
    bench.init().await;
    assert_eq!(bench.processes(), 0, "the source VM was left");
    assert!(bench.store.path().join("memory").is_file());

    let (a, b) = (bench.spec("a"), bench.spec("b"));
    let (plan_a, plan_b) = tokio::join!(bench.plan(&a), bench.plan(&b));
    let (one, two) = tokio::join!(bench.start(plan_a, &a), bench.start(plan_b, &b));
    for started in [&one, &two] {
        assert_eq!(
            started.record.path,
            StartPath::Restored,
            "{}",
            started.record.reason
        );
        assert!(
            started.record.proof.contains("incoming"),
            "{}",
            started.record.proof
        );
    }
    let templates = bench.store.list().unwrap();
    templates[0].as_ref().unwrap().verify_memory().unwrap();
    drop(templates);

    let mut larger = bench.spec("larger");
    larger.memory.mib += 64;
    match bench.plan(&larger).await {
        StartPlan::Boot(reason) => assert_eq!(
            reason.to_string(),
            "Template does not fit: memory in MiB: template has 192, wanted 256"
        ),
        StartPlan::Restore(_) => panic!("a template of another size was chosen"),
    }

    bench.store.destroy().await.unwrap();
    assert!(!bench.store.path().exists());
    one.agent.check().await.unwrap();
    let plan = bench.plan(&a).await;
    assert!(
        matches!(&plan, StartPlan::Boot(reason) if reason.label() == "absent"),
        "{plan:?}"
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
    let plan = bench.plan(&spec).await;
    let StartPlan::Restore(template) = &plan else {
        panic!("{plan:?}")
    };
    let state = template.dir().join("state");

    // Behind the back of the check that fetching makes: QEMU itself meets the damage.
    let length = state.metadata().unwrap().len();
    OpenOptions::new()
        .write(true)
        .open(&state)
        .unwrap()
        .set_len(length / 2)
        .unwrap();
    let started = bench.start(plan, &spec).await;
    assert_eq!(started.record.path, StartPath::Booted);
    assert!(
        started.record.reason.contains("loading the saved state"),
        "{}",
        started.record.reason
    );
    assert_eq!(bench.processes(), 1, "the failed restore was left");
    started.vm.kill().await.unwrap();

    // And by the check.
    match bench.plan(&spec).await {
        StartPlan::Boot(factory::BootReason::Unfit(Unfit::Damaged { what })) => {
            assert!(what.contains("bytes, not"), "{what}");
        }
        other => panic!("{other:?}"),
    }
    bench.store.destroy().await.unwrap();
}

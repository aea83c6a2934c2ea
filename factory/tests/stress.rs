//! Many restores of one template, and templates that come and go while VMs start, on a real QEMU.
//!
//! `IMPRINT_RESTORES` and `IMPRINT_STARTS` set how many; a few where they are not set.

#![allow(
    clippy::unwrap_used,
    reason = "allowed in tests, of which these are parts"
)]

mod real;

use std::{
    collections::BTreeSet,
    fs::File,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, Instant},
};

use agent_client::agent::GetDiagnosticDataRequest;
use factory::start::{FirstImage, ReasonLabel, Start, StartPath, Started, Timeline};
use real::Bench;
use sha2::{Digest, Sha256};

fn from_environment(name: &str, usual: usize) -> usize {
    let set = std::env::var(name).ok();
    set.map_or(usual, |text| text.parse().unwrap())
}

/// Digest of all the bytes, computed apart from the factory.
fn sha256(path: &std::path::Path) -> Vec<u8> {
    let mut hash = Sha256::new();
    std::io::copy(&mut File::open(path).unwrap(), &mut HashWriter(&mut hash)).unwrap();
    hash.finalize().to_vec()
}

struct HashWriter<'a>(&'a mut Sha256);

impl std::io::Write for HashWriter<'_> {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.update(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

/// What a guest draws and is known by, each with its kind.
async fn drawn(started: &Started) -> Vec<String> {
    let request = GetDiagnosticDataRequest {
        log_type: "imprint.identity".into(),
        ..Default::default()
    };
    let answer = started.agent.get_diagnostic_data(request).await.unwrap();
    let identity: serde_json::Value = serde_json::from_str(&answer.data).unwrap();
    let mut drawn: Vec<String> = ["boot_id", "machine_id", "random", "agent_uuid"]
        .iter()
        .map(|kind| identity[kind].as_str().unwrap().to_owned())
        .collect();
    let uuids = identity["uuids"].as_array().unwrap().iter();
    drawn.extend(uuids.map(|uuid| uuid.as_str().unwrap().to_owned()));
    drawn.push(started.vm.generation_id().await.unwrap().unwrap());
    drawn
}

#[tokio::test(flavor = "multi_thread")]
async fn every_restore_is_unique_and_none_changes_the_template() {
    let Some(bench) = Bench::new().await else {
        return;
    };
    let restores = from_environment("IMPRINT_RESTORES", 5);
    bench.init().await;
    let memory = bench.template_dir().join("memory");
    let digest = sha256(&memory);

    let spec = bench.spec("pod");
    let (mut all, mut times, mut per_clone) = (BTreeSet::new(), Vec::new(), 0);
    for n in 0..restores {
        let request = bench.request(&spec);
        let start = Start {
            request: &request,
            vmm: &bench.qemu,
            log: &bench.log,
        };
        let (began, mut timeline) = (Instant::now(), Timeline::begin());
        let survey = start.survey().await;
        let started = start.run(survey, FirstImage::none(), &mut timeline).await;
        let started = started.unwrap();
        times.push(began.elapsed());
        let record = &started.report;
        assert_eq!(
            record.path,
            StartPath::Restored,
            "restore {n}: {}",
            record.reason
        );
        let drawn = drawn(&started).await;
        per_clone = drawn.len();
        all.extend(drawn);
        started.vm.kill().await.unwrap();
    }
    assert_eq!(all.len(), restores * per_clone, "something was drawn twice");
    assert_eq!(sha256(&memory), digest, "the template's memory has changed");
    assert_eq!(bench.processes(), 0);
    times.sort();
    let at = |part: usize| times[(times.len() - 1) * part / 100].as_secs_f64() * 1e3;
    eprintln!(
        "{restores} restores, {} numbers, all different; plan to unique: median {:.0} ms, \
         p95 {:.0} ms",
        all.len(),
        at(50),
        at(95)
    );
    bench.store.destroy().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn vms_start_while_templates_come_and_go() {
    let Some(bench) = Bench::new().await else {
        return;
    };
    let starts = from_environment("IMPRINT_STARTS", 4);
    bench.init().await;
    let bench = Arc::new(bench);

    let over = Arc::new(AtomicBool::new(false));
    let factory = tokio::spawn({
        let (bench, over) = (bench.clone(), over.clone());
        async move {
            let (mut replaced, mut destroyed) = (0, 0);
            while !over.load(Ordering::Relaxed) {
                drop(bench.try_init(true).await.unwrap());
                replaced += 1;
                bench.store.destroy().await.unwrap();
                destroyed += 1;
                drop(bench.try_init(false).await.unwrap());
            }
            (replaced, destroyed)
        }
    });
    let tasks: Vec<_> = (0..starts)
        .map(|n| {
            let bench = bench.clone();
            tokio::spawn(async move {
                // Spread over what the factory does meanwhile.
                let later = Duration::from_millis(600) * u32::try_from(n).unwrap();
                system::time::pause("starts are spread", later).await;
                let spec = bench.spec(&format!("pod-{n}"));
                let started = bench.start(&spec).await;
                started.vm.kill().await.unwrap();
                (started.report.path, started.report.reason_label)
            })
        })
        .collect();
    let mut ways = Vec::new();
    for task in tasks {
        ways.push(task.await.unwrap());
    }
    over.store(true, Ordering::Relaxed);
    let (replaced, destroyed) = factory.await.unwrap();
    let restored = ways
        .iter()
        .filter(|(path, _)| *path == StartPath::Restored)
        .count();
    for (path, label) in &ways {
        let expected = match path {
            StartPath::Restored => &[ReasonLabel::Match][..],
            StartPath::Booted => &[
                ReasonLabel::Absent,
                ReasonLabel::Damaged,
                ReasonLabel::RestoreFailed,
            ],
        };
        assert!(expected.contains(label), "{path:?}: {label}");
    }
    eprintln!(
        "{starts} VMs started, {restored} restored, while templates were replaced {replaced} times \
         and destroyed {destroyed} times"
    );
    bench.store.destroy().await.unwrap();
    assert_eq!(bench.processes(), 0);
    assert!(!bench.store.path().exists());
}

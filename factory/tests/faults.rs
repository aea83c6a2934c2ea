//! Each way in which a template can fail, produced on a real QEMU: the VM is ready by boot, in
//! time, and nothing of the attempt is left.
//!
//! Without `IMPRINT_E2E=1` only some are tried: each one costs a boot. The table that this prints
//! is the one in `docs/fallback.md`.

#![allow(
    clippy::unwrap_used,
    reason = "allowed in tests, of which these are parts"
)]

mod faulty;
mod real;
mod support;

use std::{
    fs,
    path::Path,
    time::{Duration, Instant},
};

use factory::start::{FirstImage, Start, StartPath, StartReport, Survey, Timeline, Timeouts};
use faulty::{
    Faulty, Trouble,
    damage::{
        Saved, cut, directory, failed_before, flip, give_away, link, open_up, other_version, remove,
    },
};
use hypervisors::VmSpec;
use real::Bench;
use support::GuestFault;

/// The timeout of a restore here; a hanging one costs it in full.
const RESTORE: Duration = Duration::from_secs(2);
/// What a cancelled restore may take beside it: the VMM is killed and waited for.
const ENDING: Duration = Duration::from_secs(2);

/// How a template is damaged before the start.
type Damage = fn(&Path);

/// One failure.
struct Case {
    name: &'static str,
    damage: Option<Damage>,
    trouble: Option<Trouble>,
    label: &'static str,
    reason: &'static str,
    /// Whether it is also tried without `IMPRINT_E2E=1`.
    always: bool,
}

const fn damaged(
    name: &'static str,
    damage: Damage,
    label: &'static str,
    reason: &'static str,
) -> Case {
    Case {
        name,
        damage: Some(damage),
        trouble: None,
        label,
        reason,
        always: false,
    }
}

const fn troubled(name: &'static str, trouble: Trouble, reason: &'static str) -> Case {
    Case {
        name,
        damage: None,
        trouble: Some(trouble),
        label: "restore-failed",
        reason,
        always: false,
    }
}

/// Failures that are undone by writing state and manifest anew.
const CASES: [Case; 21] = [
    damaged(
        "manifest is half written",
        |dir| cut(&dir.join("manifest.json")),
        "damaged",
        "manifest",
    ),
    damaged(
        "manifest has a flipped bit",
        |dir| flip(&dir.join("manifest.json")),
        "damaged",
        "manifest",
    ),
    damaged(
        "manifest is missing",
        |dir| remove(&dir.join("manifest.json")),
        "absent",
        "no VM template",
    ),
    damaged(
        "manifest is of another version",
        other_version,
        "format-version",
        "format version 99",
    ),
    damaged(
        "manifest belongs to another user",
        |dir| give_away(&dir.join("manifest.json")),
        "not-private",
        "owner 1",
    ),
    damaged(
        "directory is open to others",
        open_up,
        "not-private",
        "mode 0755",
    ),
    damaged(
        "state is missing",
        |dir| remove(&dir.join("state")),
        "damaged",
        "state is missing",
    ),
    damaged(
        "state cannot be read (a link)",
        link,
        "unreadable",
        "cannot be read",
    ),
    damaged(
        "state is a directory",
        directory,
        "damaged",
        "not a regular file",
    ),
    Case {
        always: true,
        ..damaged(
            "state is truncated",
            |dir| cut(&dir.join("state")),
            "damaged",
            "bytes, not",
        )
    },
    damaged(
        "state has a flipped bit",
        |dir| flip(&dir.join("state")),
        "damaged",
        "is not what was saved",
    ),
    damaged(
        "state is open to others",
        |dir| open_up(&dir.join("state")),
        "not-private",
        "mode 0755",
    ),
    damaged(
        "three restores failed before",
        failed_before,
        "set-aside",
        "3 failed restores in a row",
    ),
    troubled(
        "VMM refuses the state",
        Trouble::StateCutWhileRestoring,
        "loading the saved state",
    ),
    Case {
        always: true,
        ..troubled(
            "VMM is killed while it loads",
            Trouble::KilledWhileLoading,
            "",
        )
    },
    troubled(
        "VMM is stopped (SIGSTOP) while it loads",
        Trouble::StoppedWhileLoading,
        "Timed out after 2s while loading the saved state",
    ),
    troubled(
        "VMM is killed after the resume",
        Trouble::KilledAfterResume,
        "",
    ),
    troubled(
        "agent does not answer",
        Trouble::Guest(GuestFault::Silent),
        "connecting to the guest's agent",
    ),
    Case {
        always: true,
        ..troubled(
            "reseed is refused",
            Trouble::Guest(GuestFault::ReseedRefused),
            "reseeding the guest's random numbers",
        )
    },
    troubled(
        "reseed hangs",
        Trouble::Guest(GuestFault::ReseedHangs),
        "while making the clone unique",
    ),
    troubled(
        "clock is refused",
        Trouble::Guest(GuestFault::ClockRefused),
        "setting the guest's clock",
    ),
];

/// Failures that need a new template afterwards: the memory is known by its time stamps.
const MEMORY_CASES: [Case; 3] = [
    damaged(
        "memory is truncated",
        |dir| cut(&dir.join("memory")),
        "damaged",
        "bytes, not",
    ),
    damaged(
        "memory has a flipped bit",
        |dir| flip(&dir.join("memory")),
        "damaged",
        "was changed or replaced",
    ),
    damaged(
        "memory is missing",
        |dir| remove(&dir.join("memory")),
        "damaged",
        "memory is missing",
    ),
];

/// Failures without damage: the request does not match, or there is no template.
const MISMATCH: Case = Case {
    damage: None,
    ..damaged(
        "template was made for another command line",
        |_| {},
        "mismatch",
        "kernel command line",
    )
};
const ABSENT: Case = Case {
    damage: None,
    ..damaged("there is no template", |_| {}, "absent", "no VM template")
};

/// Starts a VM in spite of the failure, and returns a line of the table with what that cost.
async fn survive(bench: &Bench, case: &Case, dir: &Path, spec: &VmSpec) -> String {
    if let Some(damage) = case.damage {
        damage(dir);
    }
    let faulty = Faulty::new(&bench.qemu, case.trouble);
    let mut request = bench.request(spec);
    request.timeouts = Timeouts {
        restore: RESTORE,
        agent: Duration::from_secs(60),
        max_stretch: 1,
    };
    let start = Start {
        request: &request,
        vmm: &faulty,
        log: &bench.log,
    };
    let began = Instant::now();
    let survey = Survey::of(&request, &faulty).await;
    let planned = began.elapsed();
    let mut timeline = Timeline::begin();
    let started = start.run(survey, FirstImage::none(), &mut timeline).await;
    let started = started.unwrap();
    let took = began.elapsed();
    started.agent.check().await.unwrap();

    let record = &started.report;
    let (name, reason) = (case.name, &record.reason);
    assert_eq!(record.path, StartPath::Booted, "{name}: {reason}");
    assert_eq!(record.reason_label.as_str(), case.label, "{name}: {reason}");
    assert!(reason.contains(case.reason), "{name}: {reason}");
    assert_eq!(
        record.template_key.is_some(),
        case.trouble.is_some(),
        "{name}"
    );
    let lost = lost(record);
    assert!(lost < RESTORE + ENDING, "{name}: {lost:?}");
    assert_eq!(bench.processes(), 1, "{name}: a VMM was left");
    started.vm.kill().await.unwrap();
    assert_eq!(bench.processes(), 0, "{name}");
    let left: Vec<_> = fs::read_dir(&spec.run_dir).unwrap().collect();
    assert!(left.is_empty(), "{name}: {left:?}");
    let ms = |time: Duration| time.as_secs_f64() * 1e3;
    // A path of this test says nothing to a reader.
    let reason = reason
        .replace(bench.dir.path().to_str().unwrap(), "...")
        .replace('|', "/");
    format!(
        "| {name} | `{}` | {:.0} | {:.0} | {reason} |",
        case.label,
        ms(planned + lost),
        ms(took)
    )
}

/// What was spent before the boot began.
fn lost(report: &StartReport) -> Duration {
    let boot = report.phases.iter().find(|phase| phase.name == "vm.boot");
    Duration::from_secs_f64(boot.unwrap().start_ms / 1e3)
}

#[tokio::test(flavor = "multi_thread")]
async fn whatever_a_template_does_the_vm_is_ready() {
    let Some(bench) = Bench::new().await else {
        return;
    };
    let all = std::env::var_os("IMPRINT_E2E").is_some_and(|value| value == "1");
    if !all {
        eprintln!(
            "SKIPPED: most failures, of which each costs a boot; IMPRINT_E2E=1 tries them all"
        );
    }
    let mut table = vec![];
    bench.init().await;
    let dir = bench.template_dir();
    let saved = Saved::read(&dir);
    let spec = bench.spec("pod");
    for case in CASES.iter().filter(|case| all || case.always) {
        table.push(survive(&bench, case, &dir, &spec).await);
        saved.restore(&dir);
    }
    let mut other = spec.clone();
    other.kernel.command_line.push_str(" debug");
    table.push(survive(&bench, &MISMATCH, &dir, &other).await);
    // After all that it is still the template it was.
    let started = bench.start(&spec).await;
    assert_eq!(
        started.report.path,
        StartPath::Restored,
        "{}",
        started.report.reason
    );
    started.vm.kill().await.unwrap();

    for case in MEMORY_CASES.iter().filter(|_| all) {
        bench.store.destroy().await.unwrap();
        bench.init().await;
        let dir = bench.template_dir();
        table.push(survive(&bench, case, &dir, &spec).await);
    }
    bench.store.destroy().await.unwrap();
    table.push(survive(&bench, &ABSENT, &dir, &spec).await);
    eprintln!("{}", table.join("\n"));
}

//! What a shim counts and measures of its pod's start.

use std::{
    fmt::Write,
    fs,
    sync::{Arc, atomic::Ordering},
};

use factory::start::{StartPath, StartReport};
use prometheus_client::{
    encoding::{EncodeLabelSet, text::encode},
    metrics::{counter::Counter, family::Family, gauge::Gauge, histogram::Histogram, info::Info},
    registry::{Registry, Unit},
};

use pod::container::{Counts, Reason};

/// The media type of the text.
pub const CONTENT_TYPE: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

/// Upper bounds in seconds: from a call within the host to a boot on a slow machine.
const BUCKETS: [f64; 15] = [
    0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0,
];

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct PhaseLabels {
    path: &'static str,
    phase: String,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct ReasonLabels {
    reason: &'static str,
}

/// The metrics of one pod.
pub struct Metrics {
    registry: Registry,
    vmm_pid: u32,
    vmm_bytes: Gauge,
    shim_bytes: Gauge,
    disks: Arc<Counts>,
    in_slots: Counter,
    plugged: Family<ReasonLabels, Counter>,
}

impl Metrics {
    /// The metrics of a pod whose start is over, in the VM of the process `vmm_pid`.
    pub fn of_start(report: &StartReport, disks: Arc<Counts>, vmm_pid: u32) -> Self {
        let mut registry = Registry::default();
        durations(&mut registry, report);
        ways(&mut registry, report);
        let (in_slots, plugged) = disk_counters(&mut registry);
        let resident = |registry: &mut Registry, name: &str, help: &str| {
            let gauge = Gauge::default();
            registry.register_with_unit(name, help, Unit::Bytes, gauge.clone());
            gauge
        };
        let vmm_bytes = resident(
            &mut registry,
            "imprint_vmm_resident",
            "Resident memory of the VMM",
        );
        let shim_bytes = resident(
            &mut registry,
            "imprint_shim_resident",
            "Resident memory of the shim",
        );
        Self {
            registry,
            vmm_pid,
            vmm_bytes,
            shim_bytes,
            disks,
            in_slots,
            plugged,
        }
    }

    /// The metrics as they are now.
    pub fn text(&self) -> String {
        self.vmm_bytes.set(resident(&self.vmm_pid.to_string()));
        self.shim_bytes.set(resident("self"));
        set(&self.in_slots, self.disks.in_slots());
        for reason in Reason::ALL {
            let count = self.disks.hot_plugged(reason);
            if count > 0 {
                let reason = reason.label();
                set(&self.plugged.get_or_create(&ReasonLabels { reason }), count);
            }
        }
        let mut text = String::new();
        if let Err(error) = encode(&mut text, &self.registry) {
            // Only a text that cannot grow would get here.
            let _ = write!(text, "# {error}");
        }
        text
    }
}

/// How long each step took, and all of them.
fn durations(registry: &mut Registry, report: &StartReport) {
    let durations =
        Family::<PhaseLabels, Histogram>::new_with_constructor(|| Histogram::new(BUCKETS));
    let path = report.path.as_str();
    let steps = report.phases.iter().map(|phase| (&*phase.name, phase.ms));
    for (phase, ms) in steps.chain([("total", report.total_ms)]) {
        let phase = phase.to_owned();
        let duration = durations.get_or_create(&PhaseLabels { path, phase });
        duration.observe(ms / 1e3);
    }
    registry.register_with_unit(
        "imprint_start_duration",
        "How long the steps of sandbox starts took; total is from request to answer",
        Unit::Seconds,
        durations,
    );
}

/// The way by which the VM was started, and why.
fn ways(registry: &mut Registry, report: &StartReport) {
    let hits = Counter::<u64>::default();
    let fallbacks = Family::<ReasonLabels, Counter>::default();
    let reason = report.reason_label.as_str();
    if report.path == StartPath::Restored {
        hits.inc();
    }
    if report.is_fallback() {
        fallbacks.get_or_create(&ReasonLabels { reason }).inc();
    }
    registry.register(
        "imprint_template_hits",
        "Sandboxes restored from a template",
        hits,
    );
    registry.register(
        "imprint_template_fallbacks",
        "Sandboxes booted although templates are enabled, by reason",
        fallbacks,
    );
    let key = report.template_key.clone().unwrap_or_default();
    let start = Info::new([
        ("sandbox_id", report.sandbox.clone()),
        ("path", report.path.as_str().to_owned()),
        ("reason", reason.to_owned()),
        ("template_key", key),
    ]);
    registry.register(
        "imprint_sandbox_start",
        "How the sandbox was started",
        start,
    );
}

/// Where root file systems went.
fn disk_counters(registry: &mut Registry) -> (Counter, Family<ReasonLabels, Counter>) {
    let in_slots = Counter::default();
    let plugged = Family::<ReasonLabels, Counter>::default();
    registry.register(
        "imprint_disk_slot_fills",
        "Root file systems that went into a disk slot of the VM",
        in_slots.clone(),
    );
    registry.register(
        "imprint_disk_hot_plugs",
        "Root file systems that were hot-plugged into the VM, by reason",
        plugged.clone(),
    );
    (in_slots, plugged)
}

/// The count is kept elsewhere, and only ever grows.
fn set(counter: &Counter, count: u64) {
    counter.inner().store(count, Ordering::Relaxed);
}

/// Resident memory of a process in bytes; 0 if it has ended.
fn resident(process: &str) -> i64 {
    let status = fs::read_to_string(format!("/proc/{process}/status")).unwrap_or_default();
    let kib = status.lines().find_map(|line| {
        let rest = line.strip_prefix("VmRSS:")?.trim().strip_suffix("kB")?;
        rest.trim().parse::<i64>().ok()
    });
    kib.unwrap_or_default() * 1024
}

#[cfg(test)]
pub(super) mod tests {
    use factory::start::{FirstDisk, Phase, ReasonLabel};
    use hypervisors::VmSize;

    use super::*;

    fn report(path: StartPath, reason_label: ReasonLabel) -> StartReport {
        let size = VmSize {
            memory_mib: 256,
            vcpus: 1,
        };
        StartReport {
            version: 1,
            sandbox: "pod".into(),
            path,
            template_key: Some("ab".into()),
            reason: "There is no VM template in /t".into(),
            reason_label,
            size,
            max_size: size,
            first_disk: FirstDisk::Later,
            proof: String::new(),
            total_ms: 40.0,
            phases: vec![Phase {
                name: "vm.boot".into(),
                start_ms: 1.0,
                ms: 30.0,
            }],
        }
    }

    fn metrics(path: StartPath, label: ReasonLabel) -> Metrics {
        Metrics::of_start(&report(path, label), Arc::default(), std::process::id())
    }

    pub(in crate::management) fn started() -> StartReport {
        report(StartPath::Booted, ReasonLabel::Absent)
    }

    pub(in crate::management) fn sample() -> Metrics {
        metrics(StartPath::Booted, ReasonLabel::Absent)
    }

    #[test]
    fn a_start_is_told_by_path_phase_and_reason() {
        let text = sample().text();
        for line in [
            "imprint_start_duration_seconds_bucket\
             {le=\"0.05\",path=\"booted\",phase=\"vm.boot\"} 1",
            "imprint_start_duration_seconds_count{path=\"booted\",phase=\"total\"} 1",
            "imprint_template_hits_total 0",
            "imprint_template_fallbacks_total{reason=\"absent\"} 1",
            "# EOF",
        ] {
            assert!(
                text.lines().any(|found| found == line),
                "{line} is not in\n{text}"
            );
        }
        let resident = text
            .lines()
            .find(|line| line.starts_with("imprint_vmm_resident_bytes"));
        let bytes: i64 = resident
            .unwrap()
            .rsplit(' ')
            .next()
            .unwrap()
            .parse()
            .unwrap();
        assert!(bytes > 0);
    }

    #[test]
    fn only_a_boot_that_templates_could_have_spared_is_a_fallback() {
        for (path, label, hits, fallbacks) in [
            (StartPath::Restored, ReasonLabel::Match, 1, 0),
            (StartPath::Booted, ReasonLabel::Disabled, 0, 0),
            (StartPath::Booted, ReasonLabel::Mismatch, 0, 1),
        ] {
            let text = metrics(path, label).text();
            assert!(
                text.contains(&format!("imprint_template_hits_total {hits}")),
                "{text}"
            );
            let counted = text.matches("imprint_template_fallbacks_total{").count();
            assert_eq!(counted, fallbacks, "{text}");
        }
    }
}

//! Reports a pod's start: in the log, in its directory, on its management socket.

use std::sync::Arc;

use factory::start::{StartPath, StartReport, Started, Timeline};
use pod::{container::Counts, state::SandboxDir};
use slog::{info, warn};

use crate::{
    management::{Management, Metrics},
    pod::Pod,
};

/// Reports how a pod was started.
pub async fn report(pod: &Pod, vm: Started, disks: Arc<Counts>, timeline: &Timeline) {
    let report = vm.report.as_of(timeline);
    info!(pod.log, "sandbox started";
        "sandbox" => &report.sandbox,
        "start_path" => report.path.as_str(),
        "reason" => &report.reason,
        "total_ms" => report.total_ms,
        "report" => report.to_json().unwrap_or_default());
    if let Some(dir) = pod.dir.lock().await.as_ref() {
        let metrics = Metrics::of_start(&report, disks, vm.vm.process().pid);
        publish(pod, dir, metrics, &report);
    }
    // No request could have come for it before.
    let _ = pod.start_report.set(report);
}

/// Leaves what others look for: the report, the link to a restored VM, the management socket. The
/// pod depends on none of it.
fn publish(pod: &Pod, dir: &SandboxDir, metrics: Metrics, report: &StartReport) {
    if report.path == StartPath::Restored
        && let Err(error) = dir.link_vm()
    {
        warn!(pod.log, "link to the VM was not made"; "error" => %error);
    }
    let written = report.write(dir.path());
    let served = written.and_then(|()| Management::serve(dir.path(), metrics, report, &pod.log));
    match served {
        Ok(management) => drop(pod.management.set(management)),
        Err(error) => warn!(pod.log, "start is not reported"; "error" => %error),
    }
}

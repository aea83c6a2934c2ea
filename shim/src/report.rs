//! Reports a pod's start: in the log, in its directory, on its management socket.

use std::sync::Arc;

use factory::StartPath;
use pod::{container::Counts, state::SandboxDir};
use slog::{info, warn};

use crate::{
    launch::Vm,
    management::{Management, Metrics},
    pod::Pod,
    timeline::{StartReport, Timeline},
};

/// Tells the log, whoever asks later, and whoever collects metrics how a pod was started.
pub async fn report(pod: &Pod, vm: &Vm, disks: Arc<Counts>, timeline: &Timeline) {
    let record = &vm.record;
    info!(pod.log, "sandbox started";
        "sandbox" => &pod.main,
        "start_path" => record.path.as_str(),
        "template_key" => record.template_key.as_deref().unwrap_or("none"),
        "reason" => &record.reason,
        "total_ms" => timeline.total_ms(),
        "phases" => timeline.line());
    let report = StartReport {
        start_path: record.path.as_str().to_owned(),
        template_key: record.template_key.clone(),
        reason: record.reason.clone(),
        reason_label: record.reason_label,
        shape: record.shape,
        proof: record.proof.clone(),
        total_ms: timeline.total_ms(),
        phases: timeline.phases().to_vec(),
    };
    if let Some(dir) = pod.dir.lock().await.as_ref() {
        let pid = vm.vm.process().pid;
        let metrics = Metrics::of_start(&pod.main, &vm.record, timeline, disks, pid);
        tell(pod, vm, dir, metrics, &report);
    }
}

/// Leaves what others look for: the record, the link to a restored VM, the management socket. The
/// pod depends on none of it.
fn tell(pod: &Pod, vm: &Vm, dir: &SandboxDir, metrics: Metrics, report: &StartReport) {
    if vm.record.path == StartPath::Restored
        && let Err(error) = dir.link_vm()
    {
        warn!(pod.log, "link to the VM was not made"; "error" => %error);
    }
    let served = report.write(dir.path()).and_then(|record| {
        let _ = pod.start_report.set(record.clone());
        Management::serve(dir.path(), metrics, record, &pod.log)
    });
    match served {
        Ok(management) => drop(pod.management.set(management)),
        Err(error) => warn!(pod.log, "start is not reported"; "error" => %error),
    }
}

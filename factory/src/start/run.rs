//! Carries the decision out, and tries one way after the other until the VM is ready.

use std::{sync::Arc, time::Instant};

use hypervisors::{DiskSlots, Hypervisor, VmSize, VmSpec};
use slog::{Logger, error, info, warn};
use system::error::chain;

use super::{
    FirstImage, Ready, StartError, StartLimit, StartPath, StartReport, Started,
    boot::boot,
    decide::decide,
    facts::FailedWay,
    grow::grow,
    plan::{FirstDisk, Plan, Way},
    reason::{BootReason, ReasonLabel},
    report,
    restore::restore,
    survey::{Request, Survey},
    timeline::{StartStep, Steps, Timeline},
    traces::Traces,
    unique::origin,
};
use crate::template::Template;

/// The start of one VM: what is requested, and the VMM that carries it out.
#[derive(Clone, Copy)]
pub struct Start<'a> {
    /// The VM that is requested.
    pub request: &'a Request,
    /// The VMM that boots and restores it.
    pub vmm: &'a dyn Hypervisor,
    /// Gets a line for each boot and for each way that fails.
    pub log: &'a Logger,
}

/// A way that failed. Nothing of it is left.
enum NoVm {
    /// Another way is tried.
    Next(FailedWay),
    /// It was the last way.
    Last(StartError),
}

/// The way that led to a VM.
struct Taken {
    path: StartPath,
    template_key: Option<String>,
    reason: String,
    label: ReasonLabel,
    max_size: VmSize,
}

impl Start<'_> {
    /// Gathers the facts on which the decision depends.
    pub async fn survey(&self) -> Survey {
        Survey::of(self.request, self.vmm).await
    }

    /// Starts a pod's VM: gathers the facts, waits for a place in the start limit, decides, and
    /// carries the decision out. The returned value holds the place.
    ///
    /// # Errors
    /// No way led to a VM, or the start limit was not passed in time. No process, and nothing new
    /// in the run directory, is left. A start that is dropped before it is done leaves no process
    /// either, but may leave files in the run directory.
    pub async fn limited(
        &self,
        limit: &StartLimit,
        first_image: FirstImage,
        timeline: &mut Timeline,
    ) -> Result<Started, StartError> {
        let began = Instant::now();
        let survey = self.survey().await;
        timeline.ended(StartStep::Plan, began);
        let began = Instant::now();
        let place = limit.wait().await?;
        timeline.ended(StartStep::Limit, began);
        let mut started = self.run(survey, first_image, timeline).await?;
        started.place = Some(place);
        Ok(started)
    }

    /// Decides, and tries one way after the other until the VM is ready. Before each way it checks
    /// again whether the first container's image is prepared.
    ///
    /// # Errors
    /// As [`limited`](Self::limited).
    pub async fn run(
        &self,
        survey: Survey,
        mut first_image: FirstImage,
        timeline: &mut Timeline,
    ) -> Result<Started, StartError> {
        let Survey {
            mut facts,
            mut template,
        } = survey;
        let began = Instant::now();
        loop {
            facts.first_image = first_image.known().map(|image| image.bytes);
            let plan = decide(&facts);
            let spec = self.spec(&plan, &mut first_image);
            let traces = Traces::since_now(&spec.run_dir);
            let mut steps = Steps::begin(timeline);
            let tried = match &plan.way {
                Way::Restore { key, grow_to } => {
                    let template = template.take().filter(|template| template.key() == key);
                    self.restore(template, key, *grow_to, &spec, &mut steps)
                        .await
                }
                Way::Boot { reason } => self.boot(reason, &spec, &mut steps).await,
            };
            match tried {
                Ok((ready, size, taken)) => {
                    timeline.ended(StartStep::Vm, began);
                    return Ok(started(ready, size, taken, &plan, spec, timeline).await);
                }
                Err(NoVm::Next(failed)) => {
                    steps.mark(StartStep::Failed);
                    traces.remove(self.log);
                    facts.failed.push(failed);
                }
                Err(NoVm::Last(error)) => {
                    traces.remove(self.log);
                    return Err(error.after(facts.failed.last()));
                }
            }
        }
    }

    /// The VM that the plan describes. For a clone, its template replaces size and memory.
    fn spec(&self, plan: &Plan, first_image: &mut FirstImage) -> VmSpec {
        let mut spec = self.request.spec.clone().with_size(plan.size);
        if plan.first_disk == FirstDisk::InSlot {
            let image = first_image.known().map(|image| image.path.clone());
            spec.slots.contents = image.into_iter().collect();
        }
        spec
    }

    /// Restores a template, makes the clone unique, and lets it grow.
    async fn restore(
        &self,
        template: Option<Arc<Template>>,
        key: &str,
        grow_to: Option<VmSize>,
        spec: &VmSpec,
        steps: &mut Steps<'_>,
    ) -> Result<(Ready, VmSize, Taken), NoVm> {
        let failed = |reason: String| {
            warn!(self.log, "restore failed"; "template_key" => key, "reason" => &reason);
            let template_key = key.to_owned();
            NoVm::Next(FailedWay::Restore {
                template_key,
                reason,
            })
        };
        let Some(template) = template else {
            return Err(failed("the template is not held".to_owned()));
        };
        let restored = restore(&template, self, spec, steps).await;
        let clone = restored.map_err(|failure| {
            let reason = failure.to_string();
            if let Err(e) = template.record_failure(&reason) {
                warn!(self.log, "restore failure not recorded"; "error" => %e);
            }
            failed(reason)
        })?;
        if let Err(e) = template.record_success() {
            warn!(self.log, "failure record not cleared"; "error" => %e);
        }
        let clone = clone.ready();
        let mut size = template.size();
        if let Some(to) = grow_to {
            size = self.grow(&clone, size, to, key).await?;
            steps.mark(StartStep::Grow);
        }
        let taken = Taken {
            path: StartPath::Restored,
            template_key: Some(key.to_owned()),
            reason: "Template matches".to_owned(),
            label: ReasonLabel::Match,
            max_size: template.max_size(),
        };
        Ok((clone, size, taken))
    }

    /// Lets a clone grow. One that does not grow is ended.
    async fn grow(
        &self,
        clone: &Ready,
        from: VmSize,
        to: VmSize,
        key: &str,
    ) -> Result<VmSize, NoVm> {
        let reason = match grow(clone, from, to).await {
            Ok(size) => {
                info!(self.log, "VM grew"; "from" => %from, "to" => %size);
                return Ok(size);
            }
            Err(reason) => reason,
        };
        warn!(self.log, "clone did not grow"; "template_key" => key, "reason" => &reason);
        if let Err(e) = clone.vm.kill().await {
            error!(self.log, "VMM of a clone that did not grow not killed";
                "pid" => clone.vm.process().pid, "error" => chain(&e));
        }
        let template_key = key.to_owned();
        Err(NoVm::Next(FailedWay::Grow {
            template_key,
            reason,
        }))
    }

    async fn boot(
        &self,
        reason: &BootReason,
        spec: &VmSpec,
        steps: &mut Steps<'_>,
    ) -> Result<(Ready, VmSize, Taken), NoVm> {
        info!(self.log, "booting the VM"; "reason" => %reason);
        let booted = boot(self.vmm, spec, self.request.timeouts, steps).await;
        let taken = Taken {
            path: StartPath::Booted,
            template_key: reason.template_key().map(str::to_owned),
            reason: reason.to_string(),
            label: reason.label(),
            max_size: spec.max_size(),
        };
        Ok((booted.map_err(NoVm::Last)?, spec.size(), taken))
    }
}

async fn started(
    ready: Ready,
    size: VmSize,
    taken: Taken,
    plan: &Plan,
    spec: VmSpec,
    timeline: &Timeline,
) -> Started {
    let report = StartReport {
        version: report::VERSION,
        sandbox: spec.id,
        path: taken.path,
        template_key: taken.template_key,
        reason: taken.reason,
        reason_label: taken.label,
        size,
        max_size: taken.max_size,
        first_disk: plan.first_disk,
        proof: origin(ready.vm.as_ref()).await,
        total_ms: 0.0,
        phases: Vec::new(),
    };
    Started {
        vm: ready.vm,
        agent: ready.agent,
        size,
        slots: DiskSlots { ..spec.slots },
        report: report.as_of(timeline),
        place: None,
    }
}

//! Where the time of a start goes: the medians of each phase over all starts of a kind.

use serde::Serialize;

use super::{
    sample::{Raw, Way},
    stats::median,
};
use crate::starts::StartReport;

/// The phases of one kind of start.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub(super) struct Phases {
    /// Who asked, as in `ctr run`.
    pub client: &'static str,
    /// How the starts were made that these are the medians of.
    pub way: Way,
    /// What the client has waited for, as it measured it.
    pub measured_ms: f64,
    /// Of this, what passed in the shim between the request and the container being made.
    pub shim_ms: f64,
    /// The steps of that, in the order in which they begin.
    pub steps: Vec<Step>,
}

/// A step of a start, with its median over all samples.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub(super) struct Step {
    /// Its name in `start.json`.
    pub name: String,
    /// When it began, after the request.
    pub start_ms: f64,
    /// How long it took.
    pub ms: f64,
}

impl Phases {
    /// Of the two clients and the two kinds of VMs, as far as there are samples.
    pub(super) fn of(raw: &Raw) -> Vec<Self> {
        let mut all = Vec::new();
        for way in [Way::Booted, Way::Restored] {
            let runs = raw.runs.iter().filter(|run| run.way == way);
            let runs = runs.filter_map(|run| Some((run.first_byte_ms, run.start.as_ref()?)));
            all.extend(Self::median("ctr run", way, &runs.collect::<Vec<_>>()));
            let pods = raw.pods.iter().filter(|pod| pod.way == way);
            let pods = pods.filter_map(|pod| Some((pod.pod_ms, pod.start.as_ref()?)));
            all.extend(Self::median(
                "RunPodSandbox",
                way,
                &pods.collect::<Vec<_>>(),
            ));
        }
        all
    }

    fn median(client: &'static str, way: Way, starts: &[(f64, &StartReport)]) -> Option<Self> {
        let mut names: Vec<&str> = Vec::new();
        for phase in starts.iter().flat_map(|(_, start)| &start.phases) {
            if !names.contains(&phase.name.as_str()) {
                names.push(&phase.name);
            }
        }
        let steps = names.into_iter().filter_map(|name| {
            let all = || {
                let phases = starts.iter().flat_map(|(_, start)| &start.phases);
                phases.filter(|phase| phase.name == name)
            };
            Some(Step {
                name: name.to_owned(),
                start_ms: median(all().map(|phase| phase.start_ms))?,
                ms: median(all().map(|phase| phase.ms))?,
            })
        });
        let mut steps: Vec<Step> = steps.collect();
        steps.sort_by(|one, other| one.start_ms.total_cmp(&other.start_ms));
        Some(Self {
            client,
            way,
            measured_ms: median(starts.iter().map(|(measured, _)| *measured))?,
            shim_ms: median(starts.iter().map(|(_, start)| start.total_ms))?,
            steps,
        })
    }

    /// What passed outside of the shim's work: in containerd, its plugins, and the shim's start.
    pub(super) fn around_ms(&self) -> f64 {
        (self.measured_ms - self.shim_ms).max(0.0)
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use crate::{
        bench::sample::RunSample,
        starts::{self, StartPath},
    };

    /// Starts by `ctr run`, each of `vm` milliseconds in the VM.
    pub(in crate::bench) fn runs(way: Way, vms: &[f64]) -> Vec<RunSample> {
        let path = match way {
            Way::Restored => StartPath::Restored,
            _ => StartPath::Booted,
        };
        let run = |vm: &f64| {
            let phases = [("disk", 10.0 + vm, 20.0), ("vm", 10.0, *vm)];
            let report = StartReport {
                total_ms: vm + 30.0,
                ..starts::tests::report(path, &phases)
            };
            RunSample {
                way,
                first_byte_ms: vm + 100.0,
                start: Some(report),
                costs: None,
            }
        };
        vms.iter().map(run).collect()
    }

    pub(in crate::bench) fn raw() -> Raw {
        Raw {
            cores: 2,
            runs: [
                runs(Way::Booted, &[2000.0, 2100.0, 1900.0]),
                runs(Way::Restored, &[100.0, 90.0, 200.0]),
            ]
            .concat(),
            pods: Vec::new(),
            at_once: Vec::new(),
            beside: Vec::new(),
        }
    }

    #[test]
    fn medians_of_each_step_in_the_order_of_their_beginnings() {
        let [booted, restored] = Phases::of(&raw()).try_into().unwrap();
        assert_eq!((booted.client, booted.way), ("ctr run", Way::Booted));
        assert_eq!((booted.measured_ms, booted.shim_ms), (2100.0, 2030.0));
        let names: Vec<_> = restored.steps.iter().map(|step| &*step.name).collect();
        assert_eq!(names, ["vm", "disk"]);
        assert_eq!(
            (restored.steps[0].ms, restored.steps[1].start_ms),
            (100.0, 110.0)
        );
        assert_eq!(restored.around_ms(), 70.0);
    }
}

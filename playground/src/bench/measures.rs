//! From samples to the measures that `SPECIFICATION.md` bounds, by their names there.

use std::collections::BTreeMap;

use super::{
    sample::{Crowd, Memory, PodSample, Raw, Way},
    stats::{Summary, median},
};

const KIB_PER_MIB: f64 = 1024.0;

/// All measures that these samples give.
pub(super) fn measures(raw: &Raw) -> BTreeMap<&'static str, f64> {
    let mut all = BTreeMap::new();
    let mut add = |name, value: Option<f64>| {
        if let Some(value) = value {
            all.insert(name, value);
        }
    };
    let run = |way| {
        let runs = raw.runs.iter().filter(|run| run.way == way);
        median(runs.map(|run| run.first_byte_ms))
    };
    add("run-ratio", ratio(run(Way::Booted), run(Way::Restored)));
    add("run-restored-ms", run(Way::Restored));
    let pod = |way, time: fn(&PodSample) -> f64| median(of(&raw.pods, way).map(time));
    let over = |time| Some(pod(Way::Restored, time)? - pod(Way::Runc, time)?);
    add(
        "pod-ratio",
        ratio(
            pod(Way::Booted, |pod| pod.pod_ms),
            pod(Way::Restored, |pod| pod.pod_ms),
        ),
    );
    add("pod-over-runc-ms", over(|pod| pod.pod_ms));
    add("container-over-runc-ms", over(|pod| pod.container_ms));
    add("output-ratio", {
        let output = |way| pod(way, |pod| pod.output_ms);
        ratio(output(Way::Booted), output(Way::Restored))
    });
    let run_cpu = |way| {
        let runs = raw.runs.iter().filter(|run| run.way == way);
        median(runs.filter_map(|run| Some(run.costs?.vmm_cpu_ms)))
    };
    let pod_cpu = |way| median(of(&raw.pods, way).filter_map(|pod| Some(pod.costs?.vmm_cpu_ms)));
    let cpu_ratio = |of: &dyn Fn(Way) -> Option<f64>| ratio(of(Way::Booted), of(Way::Restored));
    add("run-cpu-ratio", cpu_ratio(&run_cpu));
    add("pod-cpu-ratio", cpu_ratio(&pod_cpu));
    let costs = || of(&raw.pods, Way::Restored).filter_map(|pod| pod.costs);
    add("shim-cpu-ms", median(costs().map(|cost| cost.shim_cpu_ms)));
    add(
        "minor-faults",
        median(costs().map(|cost| cost.vmm_minor_faults as f64)),
    );
    add(
        "major-faults",
        median(costs().map(|cost| cost.vmm_major_faults as f64)),
    );
    let crowds = || raw.at_once.iter().chain(&raw.beside);
    let each = || crowds().flat_map(|crowd| &crowd.each);
    let fallen_back = each().filter(|pod| !was_restored(pod)).count();
    let failed: usize = crowds().map(|crowd| crowd.failed.len()).sum();
    let not_restored = (fallen_back + failed) as f64;
    add("fallbacks", crowds().next().map(|_| not_restored));
    add("crowd-load", crowd_load(raw));
    add("alive-ratio", alive_ratio(&raw.beside));
    if let Some(crowd) = raw.at_once.iter().max_by_key(|crowd| crowd.pods) {
        let mib = |kib: fn(&Memory) -> u64| {
            let all = crowd.memory.iter().map(|one| kib(one) as f64);
            median(all).map(|kib| kib / KIB_PER_MIB)
        };
        add("vmm-pss-mib", mib(|one| one.vmm_pss_kib));
        // The code is within the whole, but each was read at its own moment.
        add(
            "vmm-native-mib",
            mib(|one| one.vmm_pss_kib.saturating_sub(one.code_pss_kib)),
        );
        add("guest-pss-mib", mib(|one| one.guest_pss_kib));
        add("shim-pss-mib", mib(|one| one.shim_pss_kib));
    }
    all
}

fn of(pods: &[PodSample], way: Way) -> impl Iterator<Item = &PodSample> {
    pods.iter().filter(move |pod| pod.way == way)
}

fn ratio(slow: Option<f64>, fast: Option<f64>) -> Option<f64> {
    Some(slow? / fast?)
}

fn was_restored(pod: &PodSample) -> bool {
    let start = pod.start.as_ref();
    start.is_some_and(|start| start.path.as_str() == Way::Restored.name())
}

/// The 95th percentile of the largest crowd, in units of a single start of its share of the load:
/// with n pods for c cores, each start has n/c of a core's work before it.
fn crowd_load(raw: &Raw) -> Option<f64> {
    let single = median(of(&raw.pods, Way::Restored).map(|pod| pod.output_ms))?;
    let crowd = raw.at_once.iter().max_by_key(|crowd| crowd.pods)?;
    let share = (f64::from(crowd.pods) / raw.cores as f64).max(1.0);
    let p95 = Summary::of(crowd.each.iter().map(|pod| pod.output_ms))?.p95;
    Some(p95 / (single * share))
}

/// Starts beside the most pods that are alive, against those beside the fewest.
fn alive_ratio(beside: &[Crowd]) -> Option<f64> {
    let most = beside.iter().map(|crowd| crowd.pods).max()?;
    let fewest = beside.iter().map(|crowd| crowd.pods).min()?;
    if most == fewest {
        return None;
    }
    let at = |pods| {
        let crowds = beside.iter().filter(move |crowd| crowd.pods == pods);
        median(
            crowds
                .flat_map(|crowd| &crowd.each)
                .map(|pod| pod.output_ms),
        )
    };
    ratio(at(most), at(fewest))
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use crate::bench::{
        phases,
        sample::{Costs, RunSample},
    };

    fn pod(way: Way, time: f64) -> PodSample {
        let start = phases::tests::runs(way, &[time])
            .pop()
            .and_then(|run| run.start);
        PodSample {
            way,
            pod_ms: time,
            container_ms: time / 2.0,
            output_ms: time * 2.0,
            start: start.filter(|_| way != Way::Runc),
            costs: Some(Costs {
                shim_cpu_ms: 40.0,
                vmm_cpu_ms: time,
                vmm_minor_faults: 5000,
                vmm_major_faults: 0,
            }),
        }
    }

    fn crowd(pods: u16, way: Way, times: &[f64]) -> Crowd {
        Crowd {
            pods,
            wall_ms: 0.0,
            each: times.iter().map(|&time| pod(way, time)).collect(),
            failed: Vec::new(),
            memory: vec![Memory {
                vmm_pss_kib: 20 * 1024,
                guest_pss_kib: 11 * 1024,
                code_pss_kib: 4 * 1024,
                shim_pss_kib: 5 * 1024,
            }],
        }
    }

    pub(in crate::bench) fn raw() -> Raw {
        Raw {
            pods: vec![
                pod(Way::Booted, 3000.0),
                pod(Way::Restored, 500.0),
                pod(Way::Runc, 200.0),
            ],
            at_once: vec![
                crowd(1, Way::Restored, &[500.0]),
                crowd(4, Way::Restored, &[900.0, 1500.0]),
            ],
            beside: vec![
                crowd(1, Way::Restored, &[500.0]),
                crowd(9, Way::Restored, &[660.0]),
                crowd(1, Way::Restored, &[600.0, 600.0]),
            ],
            runs: [(Way::Booted, 3000.0), (Way::Restored, 500.0)]
                .into_iter()
                .flat_map(|(way, time)| {
                    let costs = pod(way, time).costs;
                    let runs = phases::tests::runs(way, &[time]);
                    runs.into_iter().map(move |run| RunSample { costs, ..run })
                })
                .collect(),
            ..phases::tests::raw()
        }
    }

    #[test]
    fn each_measure_is_what_its_name_says() {
        let expected = [
            ("run-ratio", 3100.0 / 600.0),
            ("pod-ratio", 6.0),
            ("pod-over-runc-ms", 300.0),
            ("container-over-runc-ms", 150.0),
            ("output-ratio", 6.0),
            ("run-cpu-ratio", 6.0),
            ("pod-cpu-ratio", 6.0),
            ("shim-cpu-ms", 40.0),
            ("fallbacks", 0.0),
            // 3000 ms, where a single start takes 1000 and four share two cores.
            ("crowd-load", 1.5),
            // The smallest number was measured twice.
            ("alive-ratio", 1.1),
            ("vmm-pss-mib", 20.0),
            ("vmm-native-mib", 16.0),
            ("guest-pss-mib", 11.0),
            ("shim-pss-mib", 5.0),
        ];
        let all = measures(&raw());
        for (name, value) in expected {
            assert!((all[name] - value).abs() < 1e-9, "{name}: {}", all[name]);
        }
    }

    #[test]
    fn what_was_not_sampled_is_no_measure() {
        let all = measures(&phases::tests::raw());
        let names: Vec<_> = all.keys().copied().collect();
        assert_eq!(names, ["run-ratio", "run-restored-ms"]);
    }

    #[test]
    fn a_pod_of_a_crowd_that_booted_or_failed_is_counted() {
        let mut raw = raw();
        let mut large = crowd(30, Way::Booted, &[1.0, 2.0]);
        large.failed.push("Waited 120 s".to_owned());
        raw.at_once.push(large);
        assert_eq!(measures(&raw)["fallbacks"], 3.0);
    }
}

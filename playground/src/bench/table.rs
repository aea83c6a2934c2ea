//! What was measured, for a person to read.

use std::{collections::BTreeMap, fmt::Write};

use super::{
    phases::Phases,
    sample::{Crowd, Memory, PodSample, Raw, Way},
    specification::Bound,
    stats::{Summary, median},
};

/// One of the numbers of a sample.
type Of<T> = fn(&T) -> f64;

/// The measures beside their bounds, as a table for a page.
pub(super) fn page(bounds: &[Bound], measures: &BTreeMap<&'static str, f64>) -> String {
    let mut text = "| Measure | Bound | Aim | Figure |\n|---|---|---|---|\n".to_owned();
    for bound in bounds {
        let figure = measures
            .get(bound.name.as_str())
            .map_or_else(|| "not measured".to_owned(), |value| format!("{value:.2}"));
        let (name, bound, aim) = (&bound.name, &bound.text, &bound.aim);
        let _ = writeln!(text, "| `{name}` | {bound} | {aim} | {figure} |");
    }
    text
}

/// The whole table: starts, costs, crowds and phases.
pub(super) fn told(raw: &Raw, phases: &[Phases]) -> String {
    let mut text = starts(raw);
    text += &side_by_side(phases);
    for (title, crowds) in [("at once", &raw.at_once), ("alive", &raw.beside)] {
        text += &crowds
            .iter()
            .map(|one| crowd(title, one))
            .collect::<String>();
    }
    text
}

fn starts(raw: &Raw) -> String {
    let mut text = format!(
        "\n{:<34} {:>4} {:>9} {:>9} {:>9} {:>9}\n",
        "ms", "n", "min", "median", "p95", "p99"
    );
    for way in Way::ALL {
        let runs = raw.runs.iter().filter(|run| run.way == way);
        text += &line(
            "ctr run to first byte",
            way,
            runs.map(|run| run.first_byte_ms),
        );
    }
    let times: [(&str, Of<PodSample>); 3] = [
        ("RunPodSandbox", |pod| pod.pod_ms),
        ("container created and started", |pod| pod.container_ms),
        ("RunPodSandbox to first line", |pod| pod.output_ms),
    ];
    for (what, time) in times {
        for way in Way::ALL {
            let pods = raw.pods.iter().filter(|pod| pod.way == way);
            text += &line(what, way, pods.map(time));
        }
    }
    for way in [Way::Booted, Way::Restored] {
        let costs = || {
            let pods = raw.pods.iter().filter(move |pod| pod.way == way);
            pods.filter_map(|pod| pod.costs)
        };
        text += &line("CPU of the shim", way, costs().map(|cost| cost.shim_cpu_ms));
        text += &line("CPU of the VMM", way, costs().map(|cost| cost.vmm_cpu_ms));
        let minor = costs().map(|cost| cost.vmm_minor_faults as f64);
        text += &line("minor faults of the VMM (number)", way, minor);
        let major = costs().map(|cost| cost.vmm_major_faults as f64);
        text += &line("major faults of the VMM (number)", way, major);
    }
    text
}

fn line(what: &str, way: Way, samples: impl Iterator<Item = f64>) -> String {
    let Some(all) = Summary::of(samples) else {
        return String::new();
    };
    let title = format!("{what}, {}", way.name());
    format!(
        "{title:<44} {:>4} {:>9.1} {:>9.1} {:>9.1} {:>9.1}\n",
        all.n, all.min, all.median, all.p95, all.p99
    )
}

/// A column for each kind of start, a row for each phase.
fn side_by_side(phases: &[Phases]) -> String {
    let mut names: Vec<&str> = Vec::new();
    for step in phases.iter().flat_map(|one| &one.steps) {
        if !names.contains(&step.name.as_str()) {
            names.push(&step.name);
        }
    }
    let mut text = format!("\n{:<26}", "phase (ms, medians)");
    for one in phases {
        let _ = write!(
            text,
            " {:>24}",
            format!("{} {}", one.client, one.way.name())
        );
    }
    for name in names {
        let _ = write!(text, "\n{:<26}", name.escape_debug().to_string());
        for one in phases {
            let found = one.steps.iter().find(|step| step.name == name);
            let cell = found.map_or_else(|| "-".to_owned(), |step| format!("{:.1}", step.ms));
            let _ = write!(text, " {cell:>24}");
        }
    }
    let sums: [(&str, Of<Phases>); 3] = [
        ("in the shim", |one| one.shim_ms),
        ("around it", Phases::around_ms),
        ("as measured", |one| one.measured_ms),
    ];
    for (name, of) in sums {
        let _ = write!(text, "\n{name:<26}");
        for one in phases {
            let _ = write!(text, " {:>24.1}", of(one));
        }
    }
    text + "\n\n"
}

fn crowd(title: &str, crowd: &Crowd) -> String {
    let mut text = format!("{} pods {title}: ", crowd.pods);
    if let Some(output) = Summary::of(crowd.each.iter().map(|pod| pod.output_ms)) {
        let _ = write!(
            text,
            "RunPodSandbox to first line: n {}, median {:.0}, p95 {:.0}, max {:.0} ms",
            output.n, output.median, output.p95, output.max
        );
    }
    let mib = |of: Of<Memory>| {
        let all = crowd.memory.iter().map(|one| of(one) / 1024.0);
        median(all).unwrap_or_default()
    };
    let _ = write!(
        text,
        "; PSS VMM {:.1} MiB (guest memory {:.1}, translated code {:.1}), shim {:.1} MiB",
        mib(|one| one.vmm_pss_kib as f64),
        mib(|one| one.guest_pss_kib as f64),
        mib(|one| one.code_pss_kib as f64),
        mib(|one| one.shim_pss_kib as f64),
    );
    text + "\n"
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bench::measures::tests::raw;

    #[test]
    fn a_page_has_every_bound_with_its_figure() {
        let bounds = crate::bench::specification::bounds().unwrap();
        let text = page(&bounds, &BTreeMap::from([("run-ratio", 3.456)]));
        assert_eq!(text.lines().count(), bounds.len() + 2);
        let measured = text.lines().find(|line| line.contains("`run-ratio`"));
        let measured = measured.unwrap_or_default();
        assert!(measured.ends_with(" | 3.46 |"), "{measured}");
        assert!(text.contains("| not measured |"), "{text}");
    }

    #[test]
    fn all_kinds_phases_and_crowds_are_told() {
        let raw = raw();
        let text = told(&raw, &Phases::of(&raw));
        for part in [
            "ctr run to first byte, restored",
            "RunPodSandbox, runc",
            "minor faults of the VMM (number), restored",
            "RunPodSandbox booted",
            "around it",
            "4 pods at once: ",
            "9 pods alive: ",
            "PSS VMM 20.0 MiB (guest memory 11.0, translated code 4.0), shim 5.0 MiB",
        ] {
            assert!(text.contains(part), "{part:?} is not in\n{text}");
        }
    }
}

//! Rounds of single starts: each kind once in every round, so that what else the machine does meets
//! all alike.

use std::time::Instant;

use super::{
    costs::Processes,
    options::Options,
    sample::{PodSample, RunSample, Way},
};
use crate::{
    Result,
    cri::Kubelet,
    ctr::{IMPRINT, RUNC},
    ensure,
    node::Node,
    settings::Settings,
    starts::{self, StartReport},
};

/// What a container says first.
const READY: &str = "ready";

/// Says so, and stays.
const STAYS: &str = "echo ready; trap 'exit 0' TERM; sleep 1000 & wait";

/// One round is made before those that count: it packs root file systems and fills caches.
pub(super) fn rounds(node: &Node, options: &Options) -> Result<(Vec<RunSample>, Vec<PodSample>)> {
    let (mut runs, mut pods) = (Vec::new(), Vec::new());
    for round in 0..=options.samples {
        let mut line = format!("round {round:>3} of {}:", options.samples);
        for way in Way::ALL {
            configure(node, way)?;
            let run = run(node, way)?;
            let pod = pod(node, way)?;
            line += &format!(
                "  {} {:.0} / {:.0} + {:.0}",
                way.name(),
                run.first_byte_ms,
                pod.pod_ms,
                pod.container_ms
            );
            if round > 0 {
                runs.push(run);
                pods.push(pod);
            }
        }
        eprintln!("{line} ms");
    }
    Ok((runs, pods))
}

/// The configuration holds for the next sandbox.
pub(super) fn configure(node: &Node, way: Way) -> Result<()> {
    node.configure(&Settings {
        enable_template: way == Way::Restored,
        ..node.settings()
    })
}

/// `ctr run` until the container speaks.
fn run(node: &Node, way: Way) -> Result<RunSample> {
    let id = node.unique_id("run");
    let script = format!("echo {READY}; read line");
    let run = node.ctr().run(&id);
    let run = match way {
        // runc leaves the cgroup behind that `ctr` would put above the container's.
        Way::Runc => run.runtime(RUNC).flag(&format!("--cgroup=/{id}")),
        Way::Booted | Way::Restored => run.runtime(IMPRINT),
    };
    let mut running = run.shell(&script).open_input().start()?;
    running.read_until(READY)?;
    let (start, costs) = match way {
        Way::Runc => (None, None),
        _ => {
            let start = starts::read(&node.settings().run_root, &id)?;
            went(&start, way)?;
            (Some(start), Some(Processes::of(node, &id)?.costs()?))
        }
    };
    running.write(b"\n");
    let ended = running.finish()?;
    let first_byte_ms = ended.first_byte.unwrap_or_default().as_secs_f64() * 1e3;
    ended.success()?;
    Ok(RunSample {
        way,
        first_byte_ms,
        start,
        costs,
    })
}

/// A start must have gone the way that was to be measured.
fn went(start: &StartReport, way: Way) -> Result<()> {
    ensure!(
        start.path.as_str() == way.name(),
        "A VM was {}, not {}: {}",
        start.path.as_str(),
        way.name(),
        start.reason
    );
    Ok(())
}

/// A pod with one container, removed again.
fn pod(node: &Node, way: Way) -> Result<PodSample> {
    let kubelet = Kubelet::with_handler(
        node,
        match way {
            Way::Runc => "runc",
            Way::Booted | Way::Restored => "imprint",
        },
    );
    let (pod, sample) = started(&kubelet, way, "bench")?;
    let sample = looked_at(node, sample, pod.id())?;
    sample.start.iter().try_for_each(|start| went(start, way))?;
    pod.remove()?;
    Ok(sample)
}

/// Starts a pod and a container in it, and takes the times.
pub(super) fn started<'a>(
    kubelet: &'a Kubelet,
    way: Way,
    name: &str,
) -> Result<(crate::cri::Pod<'a>, PodSample)> {
    let ms = |since: Instant| since.elapsed().as_secs_f64() * 1e3;
    let began = Instant::now();
    let pod = kubelet.run(name)?;
    let pod_ms = ms(began);
    let asked = Instant::now();
    let container = pod.start("one", STAYS)?;
    let container_ms = ms(asked);
    container.logged(READY)?;
    let sample = PodSample {
        way,
        pod_ms,
        container_ms,
        output_ms: ms(began),
        start: None,
        costs: None,
    };
    Ok((pod, sample))
}

/// Adds what the shim and the kernel know of a pod.
pub(super) fn looked_at(node: &Node, sample: PodSample, id: &str) -> Result<PodSample> {
    if sample.way == Way::Runc {
        return Ok(sample);
    }
    Ok(PodSample {
        start: Some(starts::read(&node.settings().run_root, id)?),
        costs: Some(Processes::of(node, id)?.costs()?),
        ..sample
    })
}

//! Many pods: at once, and one after the other with nothing that grows.

use std::{
    fs,
    time::{Duration, Instant},
};

use e2e_tests::harness::Case;
use playground::{
    Error, Result,
    cri::Kubelet,
    ensure,
    node::Node,
    proc::{Process, mounts},
};

use crate::pods::same;

pub fn cases() -> Vec<Case> {
    vec![
        Case::new("crowd::many_at_once", at_once).restored(),
        Case::new("crowd::one_after_the_other", one_after_the_other).restored(),
    ]
}

/// A number from the environment.
pub fn number(variable: &str, default: usize) -> usize {
    let set = std::env::var(variable).ok();
    set.and_then(|value| value.parse().ok()).unwrap_or(default)
}

fn at_once(node: &Node) -> Result<()> {
    let count = number("IMPRINT_CRI_PODS", 10);
    let kubelet = Kubelet::new(node);
    let began = Instant::now();
    let outcomes: Vec<Result<Duration>> = std::thread::scope(|scope| {
        let pods = (0..count).map(|n| {
            let kubelet = &kubelet;
            scope.spawn(move || {
                let began = Instant::now();
                let pod = kubelet.run(&format!("crowd-{n}"))?;
                let container = pod.start("one", "echo up; sleep 1000")?;
                container.logged("up")?;
                let took = began.elapsed();
                same(
                    "Its name",
                    &container.shell("hostname")?,
                    &format!("crowd-{n}"),
                )?;
                pod.remove()?;
                Ok(took)
            })
        });
        let pods: Vec<_> = pods.collect();
        let lost = || Err(Error::Unexpected("A thread was lost".to_owned()));
        pods.into_iter()
            .map(|pod| pod.join().unwrap_or_else(|_| lost()))
            .collect()
    });
    let took = outcomes.into_iter().collect::<Result<Vec<_>>>()?;
    println!(
        "    {count} pods: the slowest ready after {:.1} s, all gone after {:.1} s",
        took.iter().max().map_or(0.0, Duration::as_secs_f64),
        began.elapsed().as_secs_f64()
    );
    Ok(())
}

/// What must not grow: containerd's descriptors, processes, mounts.
fn size(node: &Node) -> Result<[usize; 3]> {
    let descriptors = format!("/proc/{}/fd", node.containerd().process().pid);
    let open = fs::read_dir(&descriptors).map_err(Error::io("Listing", &descriptors))?;
    let ours = |process: &Process| process.belongs_to(node.directory());
    Ok([
        open.count(),
        Process::all()
            .iter()
            .filter(|process| ours(process))
            .count(),
        mounts()?.len(),
    ])
}

fn one_after_the_other(node: &Node) -> Result<()> {
    let count = number("IMPRINT_CRI_CYCLES", 10);
    let kubelet = Kubelet::new(node);
    let cycle = || {
        let pod = kubelet.run("cycle")?;
        let ended = pod.start("one", "exit 0")?.ended()?;
        ensure!(ended.exit_code == 0, "{ended}");
        pod.remove()
    };
    // The first ones make what is kept.
    (0..3).try_for_each(|_| cycle())?;
    let before = size(node)?;
    let began = Instant::now();
    (0..count).try_for_each(|_| cycle())?;
    let each = began.elapsed().as_secs_f64() / count.max(1) as f64;
    let after = size(node)?;
    println!(
        "    {count} cycles of {each:.2} s; descriptors, processes, mounts \
            {before:?} then {after:?}"
    );
    let grown = before
        .iter()
        .zip(after)
        .any(|(before, after)| after > before + 4);
    ensure!(!grown, "It grows: {before:?} then {after:?}");
    Ok(())
}

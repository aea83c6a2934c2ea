//! Restored pods in numbers: started at once, and started while others are alive.

use std::{sync::Barrier, time::Instant};

use system::sync::Mutex;

use super::{
    costs::Processes,
    options::Options,
    rounds::{configure, looked_at, started},
    sample::{Crowd, Memory, PodSample, Way},
};
use crate::{
    Error, Result,
    cri::{Kubelet, Pod},
    node::Node,
};

/// So many pods are removed at once.
const REMOVERS: usize = 4;

/// Starts that are measured beside pods that are alive, at most.
const BESIDE: u16 = 10;

const WAY: Way = Way::Restored;

/// Pods that are all asked for in one moment.
pub(super) fn at_once(node: &Node, options: &Options) -> Result<Vec<Crowd>> {
    configure(node, WAY)?;
    options
        .crowds
        .iter()
        .map(|&pods| {
            let crowd = crowd(node, pods)?;
            eprintln!(
                "{pods:>4} pods at once: all speak after {:.0} ms",
                crowd.wall_ms
            );
            Ok(crowd)
        })
        .collect()
}

fn crowd(node: &Node, pods: u16) -> Result<Crowd> {
    let kubelet = Kubelet::with_handler(node, "imprint");
    let barrier = Barrier::new(usize::from(pods));
    let began = Instant::now();
    let all: Vec<Result<(Pod<'_>, PodSample)>> = std::thread::scope(|scope| {
        let starting = (0..pods).map(|number| {
            let (kubelet, barrier) = (&kubelet, &barrier);
            scope.spawn(move || {
                barrier.wait();
                started(kubelet, WAY, &format!("crowd-{number}"))
            })
        });
        let starting: Vec<_> = starting.collect();
        starting
            .into_iter()
            .map(|one| one.join().unwrap_or_else(|_| Err(lost())))
            .collect()
    });
    let wall_ms = began.elapsed().as_secs_f64() * 1e3;
    let (mut alive, mut samples, mut failed) = (Vec::new(), Vec::new(), Vec::new());
    for one in all {
        match one {
            Ok((pod, sample)) => {
                alive.push(pod);
                samples.push(sample);
            }
            Err(error @ Error::Interrupted { .. }) => return Err(error),
            // The others are worth measuring all the same.
            Err(error) => failed.push(error.chain()),
        }
    }
    for error in &failed {
        eprintln!("     one failed: {error}");
    }
    let each = alive
        .iter()
        .zip(samples)
        .map(|(pod, sample)| looked_at(node, sample, pod.id()))
        .collect::<Result<_>>()?;
    let memory = memory(node, &alive)?;
    remove(alive)?;
    Ok(Crowd {
        pods,
        wall_ms,
        each,
        failed,
        memory,
    })
}

/// Pods that are started one after the other beside others: beside each number on the way up, and
/// beside the smallest once more on the way down, so that a machine that grows slower is not
/// taken for pods that do.
pub(super) fn beside(node: &Node, options: &Options) -> Result<Vec<Crowd>> {
    configure(node, WAY)?;
    let kubelet = Kubelet::with_handler(node, "imprint");
    let mut alive = Vec::new();
    let mut crowds = Vec::new();
    let down = options.alive.first().filter(|_| options.alive.len() > 1);
    for &pods in options.alive.iter().chain(down) {
        if alive.len() > usize::from(pods) {
            remove(alive.split_off(usize::from(pods)))?;
        }
        while alive.len() < usize::from(pods) {
            alive.push(started(&kubelet, WAY, "alive")?.0);
        }
        let began = Instant::now();
        let mut each = Vec::new();
        for _ in 0..options.samples.min(BESIDE) {
            let (pod, sample) = started(&kubelet, WAY, "beside")?;
            each.push(looked_at(node, sample, pod.id())?);
            pod.remove()?;
        }
        eprintln!("{pods:>4} pods alive: measured {} starts", each.len());
        crowds.push(Crowd {
            pods,
            wall_ms: began.elapsed().as_secs_f64() * 1e3,
            each,
            failed: Vec::new(),
            memory: memory(node, &alive)?,
        });
    }
    remove(alive)?;
    Ok(crowds)
}

fn memory(node: &Node, pods: &[Pod<'_>]) -> Result<Vec<Memory>> {
    let each = pods
        .iter()
        .map(|pod| Processes::of(node, pod.id())?.memory());
    each.collect()
}

fn remove(pods: Vec<Pod<'_>>) -> Result<()> {
    let left = Mutex::new(pods);
    let next = || left.lock().pop();
    let remover = || std::iter::from_fn(next).try_for_each(Pod::remove);
    std::thread::scope(|scope| {
        let removers: Vec<_> = (0..REMOVERS).map(|_| scope.spawn(remover)).collect();
        let ended = removers
            .into_iter()
            .map(|one| one.join().unwrap_or_else(|_| Err(lost())));
        ended.collect::<Vec<_>>().into_iter().collect()
    })
}

fn lost() -> Error {
    Error::Unexpected("A thread was lost".to_owned())
}

//! The benchmark: what `SPECIFICATION.md` promises, measured in one interleaved run.

mod costs;
mod crowd;
mod measures;
mod options;
mod outcome;
mod phases;
mod plot;
mod rounds;
mod sample;
mod specification;
mod stats;
mod table;

use std::time::Instant;

pub use self::{
    options::Options,
    outcome::Outcome,
    sample::{Crowd, Memory, PodSample, Raw, RunSample, Way},
};
use crate::{
    Error, Result, cri, installation::Artefacts, node::Node, playground::Playground,
    settings::Settings,
};

/// Runs the benchmark; progress goes to standard error.
///
/// Must be called before the process has a second thread: it moves into a network namespace of its
/// own.
pub fn bench(options: Options) -> Result<Outcome> {
    let began = Instant::now();
    let options = options.resolved();
    let artefacts = Artefacts::find()?;
    let _network = cri::own_network()?;
    let node = Node::start(Playground::temporary("b")?, artefacts)?;
    cri::import(&node)?;
    let measured = measure(&node, &options);
    if let Err(error @ Error::Interrupted { .. }) = measured {
        // What was cut short is no leak: the node removes it as it is dropped.
        eprintln!("Interrupted, cleaning up");
        return Err(error);
    }
    let leaks = node.close()?;
    let raw = measured?;
    let outcome = Outcome::of(&raw, &options, began.elapsed())?;
    eprintln!("Afterwards, {leaks}");
    crate::ensure!(leaks.is_empty(), "The benchmark did not clean up");
    Ok(outcome)
}

/// Takes all samples on a node whose CRI plugin has its images.
pub fn measure(node: &Node, options: &Options) -> Result<Raw> {
    node.configure(&Settings {
        enable_template: true,
        ..node.settings()
    })?;
    node.ensure_template()?;
    let (runs, pods) = rounds::rounds(node, options)?;
    let at_once = crowd::at_once(node, options)?;
    let beside = crowd::beside(node, options)?;
    node.imprint(&["factory", "destroy"]).succeed()?;
    Ok(Raw {
        cores: std::thread::available_parallelism().map_or(1, usize::from),
        runs,
        pods,
        at_once,
        beside,
    })
}

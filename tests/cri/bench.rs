//! The benchmark, in small: that it measures all that `SPECIFICATION.md` bounds, and cleans up. How
//! fast anything was is nobody's concern here.

use std::time::Duration;

use e2e_tests::harness::Case;
use playground::{
    Error, Result,
    bench::{Options, Outcome, measure},
    ensure,
    node::Node,
};

pub fn cases() -> Vec<Case> {
    vec![Case::new("bench::a_small_run_measures_everything", small)]
}

fn small(node: &Node) -> Result<()> {
    let out = tempfile::tempdir().map_err(Error::io("Making", "a directory"))?;
    let options = Options {
        samples: 1,
        crowds: vec![2],
        alive: vec![1, 2],
        quick: true,
        out: out.path().to_owned(),
    };
    let raw = measure(node, &options)?;
    ensure!(
        (raw.runs.len(), raw.pods.len()) == (3, 3),
        "{} runs, {} pods",
        raw.runs.len(),
        raw.pods.len()
    );
    let outcome = Outcome::of(&raw, &options, Duration::ZERO)?;
    ensure!(outcome.unmeasured.is_empty(), "{outcome:?}");
    ensure!(!outcome.failed(), "A quick run held somebody to something");
    for path in [&outcome.raw, &outcome.plot] {
        ensure!(path.is_file(), "{} is not there", path.display());
    }
    Ok(())
}

#![forbid(unsafe_code)]
//! End-to-end tests: a real containerd, a real VMM, a real guest.
//!
//! They need root and what `make build guest` makes, and take minutes: without `IMPRINT_E2E=1` all
//! of them are skipped. Arguments are parts of the names of the cases to run.

mod bad_input;
mod channel;
mod clones;
mod death;
mod fallback;
mod image;
mod lifecycle;
mod mounts;
mod namespaces;
mod processes;
mod run;
mod snapshotters;
mod templating;
mod volumes;

use std::process::ExitCode;

use e2e_tests::harness::{Case, Harness};

/// All cases, in the order in which they run: first what boots, then what needs a template.
fn cases() -> Vec<Case> {
    let booted = [
        run::cases(),
        lifecycle::cases(),
        processes::cases(),
        death::cases(),
        volumes::cases(),
        mounts::cases(),
        snapshotters::cases(),
        channel::cases(),
    ]
    .concat();
    let restored = booted.clone();
    let mut all: Vec<Case> = booted.into_iter().map(Case::booted).collect();
    all.extend(bad_input::cases());
    all.extend(restored.into_iter().map(Case::restored));
    all.extend(clones::cases());
    all.extend(fallback::cases());
    all.extend(channel::own_cases());
    all.extend(templating::cases());
    all.extend(namespaces::cases());
    all.extend(image::cases());
    all
}

fn main() -> ExitCode {
    Harness::from_arguments(std::env::args().skip(1)).run(cases())
}

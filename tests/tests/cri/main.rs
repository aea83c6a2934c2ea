#![forbid(unsafe_code)]
//! What kubelet asks of a runtime, through containerd's CRI plugin: a real containerd, CNI plugins, a
//! real VMM, a real guest; every scenario in booted and in restored sandboxes.
//!
//! They run in a network namespace of their own, so that bridges and addresses meet no others. They
//! need root and what `make build guest` makes: without `IMPRINT_E2E=1` all are skipped. Arguments are
//! parts of the names of the cases to run; `IMPRINT_CRI_HANDLER=runc` compares with runc.

mod containers;
mod crowd;
mod death;
mod network;
mod pods;
mod resources;
mod security;
mod sizing;
mod streams;
mod templating;
mod volumes;

use std::{fs, process::ExitCode};

use imprint_tests::harness::{self, Case, Harness};
use imprint_tests::{Result, containerd::BRIDGE, cri, ctr::Ctr, node::Node, program::Program};
use nix::sched::{CloneFlags, unshare};

/// Where the CNI's library keeps what plugins answered.
const CNI_RESULTS: [&str; 2] = ["/var/lib/cni/results", "/var/lib/cni"];

/// All cases: first what boots, then the same restored.
fn cases() -> Vec<Case> {
    let all = [
        pods::cases(),
        containers::cases(),
        security::cases(),
        streams::cases(),
        volumes::cases(),
        network::cases(),
        resources::cases(),
        sizing::cases(),
        death::cases(),
    ]
    .concat();
    let restored = all.clone();
    let mut all: Vec<Case> = all.into_iter().map(Case::booted).collect();
    all.extend(restored.into_iter().map(Case::restored));
    all.extend(crowd::cases());
    all.extend(templating::cases());
    all
}

/// The namespace, and in it what the first pod would otherwise leave for the next.
fn own_network() -> Result<()> {
    let failed = |errno| imprint_tests::Error::Unexpected(format!("No network namespace: {errno}"));
    unshare(CloneFlags::CLONE_NEWNET).map_err(failed)?;
    let ip = |words: &[&str]| Program::new("ip").args(words).succeed().map(drop);
    ip(&["link", "set", "lo", "up"])?;
    ip(&["link", "add", BRIDGE, "type", "bridge"])?;
    ip(&["link", "set", BRIDGE, "up"])
}

/// The CRI plugin looks for images in a namespace of its own.
fn import(node: &Node) -> Result<()> {
    let ctr = Ctr::new(node.containerd().layout().clone(), "k8s.io");
    ctr.import(&node.archive()?)?;
    ctr.import(&cri::pause_archive(&node.artefacts().images)?)
}

fn main() -> ExitCode {
    let harness = Harness::from_arguments(std::env::args().skip(1)).preparing(import);
    if std::env::var("IMPRINT_E2E").is_err() {
        return harness.run(cases());
    }
    let absent: Vec<&str> = CNI_RESULTS
        .into_iter()
        .filter(|path| fs::metadata(path).is_err())
        .collect();
    let ready = own_network().and_then(|()| {
        fs::create_dir_all(CNI_RESULTS[0])
            .map_err(imprint_tests::Error::io("Making", CNI_RESULTS[0]))
    });
    if let Err(error) = ready {
        println!("The scenarios cannot run: {error}");
        return ExitCode::FAILURE;
    }
    let outcome = harness.run(cases());
    for path in absent {
        let _ = fs::remove_dir(path);
    }
    outcome
}

#![forbid(unsafe_code)]
//! What kubelet asks of a runtime, through containerd's CRI plugin: a real containerd, CNI plugins,
//! a real VMM, a real guest; every scenario in booted and in restored sandboxes.
//!
//! They run in a network namespace of their own, so that bridges and addresses meet no others. They
//! need root and what `make build guest` makes: without `IMPRINT_E2E=1` all are skipped. Arguments
//! are parts of the names of the cases to run; `IMPRINT_CRI_HANDLER=runc` compares with runc.

mod bench;
mod chaos;
mod containers;
mod crowd;
mod death;
mod devices;
mod first_process;
mod host_paths;
mod hostile;
mod many_images;
mod memory;
mod mounts;
mod network;
mod pid_namespaces;
mod pods;
mod resources;
mod sandbox_api;
mod security;
mod sizing;
mod streams;
mod sysctls;
mod templating;
mod volumes;

use std::process::ExitCode;

use e2e_tests::harness::{Case, Harness};
use playground::{containerd::Release, cri};

/// All cases: first what boots, then the same restored.
fn cases() -> Vec<Case> {
    let all = [
        pods::cases(),
        containers::cases(),
        many_images::cases(),
        first_process::cases(),
        security::cases(),
        streams::cases(),
        volumes::cases(),
        mounts::cases(),
        host_paths::cases(),
        network::cases(),
        pid_namespaces::cases(),
        sysctls::cases(),
        resources::cases(),
        sizing::cases(),
        devices::cases(),
        death::cases(),
        sandbox_api::cases(),
    ]
    .concat();
    let restored = all.clone();
    let mut all: Vec<Case> = all.into_iter().map(Case::booted).collect();
    all.extend(restored.into_iter().map(Case::restored));
    all.extend(hostile::cases());
    all.extend(chaos::cases());
    all.extend(crowd::cases());
    all.extend(templating::cases());
    all.extend(memory::cases());
    all.extend(bench::cases());
    all
}

fn main() -> ExitCode {
    let harness = Harness::from_arguments(std::env::args().skip(1)).preparing(cri::import);
    if std::env::var("IMPRINT_E2E").is_err() {
        return harness.run(cases());
    }
    // One that is not unpacked yet is fetched, and there is no way to it from the namespace below.
    // What fails is told when the node is made.
    let _ = Release::chosen();
    match cri::own_network() {
        Ok(_network) => harness.run(cases()),
        Err(error) => {
            println!("The scenarios cannot run: {}", error.chain());
            ExitCode::FAILURE
        }
    }
}

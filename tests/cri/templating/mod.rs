//! Templates as a cluster's test run looks at them, through the CRI: the scenario of
//! `k8s-vm-templating.bats`, and what that file does not ask.

mod clones;
mod failing;
mod lifecycle;
mod machine;
mod scenario;

use std::{fs, io::ErrorKind, path::PathBuf};

use e2e_tests::harness::Case;
use playground::{
    Error, Result,
    cri::Pod,
    ensure,
    node::Node,
    program::Program,
    settings::Settings,
    starts::{self, StartReport},
};

pub fn cases() -> Vec<Case> {
    [
        scenario::cases(),
        clones::cases(),
        machine::cases(),
        failing::cases(),
        lifecycle::cases(),
    ]
    .concat()
}

/// Templates on, and none there.
pub fn without_template(node: &Node) -> Result<Settings> {
    let settings = Settings {
        enable_template: true,
        ..node.settings()
    };
    node.configure(&settings)?;
    node.imprint(&["factory", "destroy"]).succeed()?;
    Ok(settings)
}

/// Templates on, and one that fits.
fn with_template(node: &Node) -> Result<Settings> {
    let settings = Settings {
        enable_template: true,
        ..node.settings()
    };
    node.configure(&settings)?;
    node.ensure_template()?;
    Ok(settings)
}

/// Digest of all the bytes of the template's memory.
fn memory_digest(settings: &Settings) -> Result<String> {
    let memory = settings.template_path.join("memory");
    Program::new("sha256sum").args([memory]).succeed()
}

/// The record of a pod's start.
fn start_of(settings: &Settings, pod: &Pod<'_>) -> Result<StartReport> {
    starts::read(&settings.run_root, pod.id())
}

/// The record, which must say that the pod was restored.
pub fn restored(settings: &Settings, pod: &Pod<'_>) -> Result<StartReport> {
    let start = start_of(settings, pod)?;
    ensure!(
        start.path.as_str() == "restored" && start.template_key.is_some(),
        "{start:?}"
    );
    Ok(start)
}

/// Symbolic links directly below the directory of VMs.
fn links(settings: &Settings) -> Result<Vec<PathBuf>> {
    let directory = settings.run_root.join("vm");
    let entries = match fs::read_dir(&directory) {
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(Vec::new()),
        other => other.map_err(Error::io("Listing", &directory))?,
    };
    let found = entries.flatten().map(|entry| entry.path());
    Ok(found.filter(|path| path.is_symlink()).collect())
}

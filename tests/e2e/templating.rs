//! The scenario of `k8s-vm-templating.bats` without a cluster, and what that file does not look at:
//! what a node shows of a restored sandbox while it runs and after it is gone.

use std::{fs, path::PathBuf};

use e2e_tests::{harness::Case, management};
use playground::{
    Error, Result, ensure, node::Node, program::Program, running::Running, settings::Settings,
};

use crate::lifecycle::service;

pub fn cases() -> Vec<Case> {
    vec![
        Case::new("templating::a_pod_in_a_templated_vm", scenario),
        Case::new(
            "templating::destroy_spares_what_runs",
            destroy_while_it_runs,
        ),
        Case::new("templating::clones_are_unique", selftest),
    ]
}

/// Templates on, and none there.
fn without_template(node: &Node) -> Result<Settings> {
    let settings = Settings {
        enable_template: true,
        ..node.settings()
    };
    node.configure(&settings)?;
    node.imprint(&["factory", "destroy"]).succeed()?;
    Ok(settings)
}

fn scenario(node: &Node) -> Result<()> {
    let settings = without_template(node)?;
    let printed = node.imprint(&["factory", "init"]).succeed()?;
    ensure!(printed == "vm factory initialized\n", "{printed}");
    let memory = settings.template_path.join("memory");
    ensure!(memory.is_file(), "{} is no file", memory.display());
    ensure!(node.vmms().is_empty(), "A VMM of the template remains");
    ensure!(links(&settings)?.is_empty(), "{:?}", links(&settings)?);
    let before = Program::new("sha256sum").args([&memory]).succeed()?;

    let (id, running) = service(node, "templated")?;
    let ctr = node.ctr();
    let said = ctr
        .exec(&id, "hello", &[], &["echo", "Hello from templated VM"])
        .succeed()?;
    ensure!(said == "Hello from templated VM\n", "{said}");

    let [link] = links(&settings)?
        .try_into()
        .map_err(|found| Error::Unexpected(format!("Links below the run root: {found:?}")))?;
    ensure!(link.ends_with(&id), "{link:?}");
    let directory = fs::canonicalize(&link).map_err(Error::io("Following", &link))?;
    let mut vmms = node.vmms().into_iter();
    ensure!(
        vmms.any(|vmm| vmm.command.contains("-incoming")
            && vmm.command.contains(&directory.display().to_string())),
        "No VMM with -incoming lives in {}",
        directory.display()
    );
    observed(node, &settings, &id)?;

    end(node, &id, running)?;
    ensure!(links(&settings)?.is_empty(), "{:?}", links(&settings)?);
    let after = Program::new("sha256sum").args([&memory]).succeed()?;
    ensure!(before == after, "The template's memory has changed");
    let printed = node.imprint(&["factory", "destroy"]).succeed()?;
    ensure!(printed == "vm factory destroyed\n", "{printed}");
    ensure!(
        !settings.template_path.exists(),
        "The template is still there"
    );
    Ok(())
}

/// The start as the tool, the management socket and the node's count tell it.
fn observed(node: &Node, settings: &Settings, id: &str) -> Result<()> {
    let told = node.imprint(&["explain", id]).succeed()?;
    ensure!(
        told.contains("start: restored\nreason: Template matches (match)\n"),
        "{told}"
    );
    ensure!(told.contains("vm.restore"), "{told}");
    let metrics = management::get(&settings.run_root, id, "/metrics")?;
    for line in [
        "imprint_template_hits_total 1",
        "imprint_start_duration_seconds_count{path=\"restored\",phase=\"total\"} 1",
    ] {
        ensure!(metrics.contains(line), "{line} is not in\n{metrics}");
    }
    let status = node.imprint(&["factory", "status"]).succeed()?;
    ensure!(status.contains("pods restored: "), "{status}");
    Ok(())
}

fn destroy_while_it_runs(node: &Node) -> Result<()> {
    without_template(node)?;
    node.imprint(&["factory", "init"]).succeed()?;
    let twice = node.imprint(&["factory", "init"]).run()?;
    ensure!(
        twice.code == 1 && twice.stderr.contains("already a VM template"),
        "{twice:?}"
    );
    let (id, running) = service(node, "spared")?;
    node.imprint(&["factory", "destroy"]).succeed()?;
    let said = node
        .ctr()
        .exec(&id, "still", &[], &["echo", "here"])
        .succeed()?;
    ensure!(said == "here\n", "{said}");
    end(node, &id, running)
}

fn selftest(node: &Node) -> Result<()> {
    without_template(node)?;
    node.imprint(&["factory", "init"]).succeed()?;
    let table = node.imprint(&["selftest"]).succeed()?;
    ensure!(table.ends_with("the clones are unique\n"), "{table}");
    node.imprint(&["factory", "destroy"]).succeed().map(drop)
}

/// Has a service end as it was told to.
pub fn end(node: &Node, id: &str, running: Running) -> Result<()> {
    let kill = ["task", "kill", "--signal", "TERM", id];
    node.ctr().call(&kill).succeed()?;
    let ended = running.finish()?;
    ensure!(ended.code == 0, "{ended:?}");
    Ok(())
}

/// Symbolic links directly below the directory of VMs.
fn links(settings: &Settings) -> Result<Vec<PathBuf>> {
    let directory = settings.run_root.join("vm");
    let entries = match fs::read_dir(&directory) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(Vec::new()),
        other => other.map_err(Error::io("Listing", &directory))?,
    };
    let found = entries.flatten().map(|entry| entry.path());
    Ok(found.filter(|path| path.is_symlink()).collect())
}

//! The scenario of `k8s-vm-templating.bats`, and each of its steps proven.

use std::{fs, time::Instant};

use e2e_tests::{harness::Case, management};
use playground::{
    Error, Result,
    cri::{Kubelet, Pod},
    ensure,
    node::Node,
    settings::Settings,
};

use super::{links, memory_digest, restored, without_template};
use crate::pods::{same, service};

pub fn cases() -> Vec<Case> {
    vec![
        Case::new("templating::a_pod_in_a_templated_vm", scenario),
        Case::new(
            "templating::init_leaves_a_template_and_nothing_else",
            after_init,
        ),
    ]
}

fn scenario(node: &Node) -> Result<()> {
    let settings = without_template(node)?;
    let printed = node.imprint(&["factory", "init"]).succeed()?;
    same("init", &printed, "vm factory initialized")?;
    let memory = settings.template_path.join("memory");
    ensure!(memory.is_file(), "{} is no file", memory.display());
    let before = memory_digest(&settings)?;

    let kubelet = Kubelet::new(node);
    let began = Instant::now();
    let pod = kubelet.run("templated")?;
    let status = pod.status()?;
    ensure!(status.state == 0, "The pod is not ready: {status}");
    let container = service(&pod)?;
    let (code, said, _) = container.exec(&["echo", "Hello from templated VM"])?;
    ensure!(code == 0, "echo ended with {code}");
    same("exec", &said, "Hello from templated VM")?;
    was_there_before(&container.shell("cat /proc/uptime")?, began)?;
    linked(node, &settings, &pod)?;
    observed(node, &settings, &pod)?;
    pod.remove()?;

    ensure!(links(&settings)?.is_empty(), "{:?}", links(&settings)?);
    same("The memory file", &memory_digest(&settings)?, before.trim())?;
    let printed = node.imprint(&["factory", "destroy"]).succeed()?;
    same("destroy", &printed, "vm factory destroyed")?;
    ensure!(
        !settings.template_path.exists(),
        "The template is still there"
    );
    Ok(())
}

/// A guest that is up for longer than its pod was asked for ran before it was assigned.
fn was_there_before(uptime: &str, asked_for: Instant) -> Result<()> {
    let up = uptime.split(' ').next().and_then(|up| up.parse().ok());
    let up: f64 = up.unwrap_or_default();
    let since = asked_for.elapsed().as_secs_f64();
    ensure!(
        up > since,
        "The guest is up for {up} s, its pod was asked for {since} s ago"
    );
    Ok(())
}

/// The sandbox's VM is a link to a directory in which a VMM lives that took over a saved state.
fn linked(node: &Node, settings: &Settings, pod: &Pod<'_>) -> Result<()> {
    let [link] = links(settings)?
        .try_into()
        .map_err(|found| Error::Unexpected(format!("Links below the run root: {found:?}")))?;
    ensure!(link.ends_with(pod.id()), "{link:?}");
    let directory = fs::canonicalize(&link).map_err(Error::io("Following", &link))?;
    let lives_there = directory.display().to_string();
    let vmms = node.vmms();
    ensure!(
        vmms.iter()
            .any(|vmm| vmm.command.contains("-incoming") && vmm.command.contains(&lives_there)),
        "No VMM with -incoming lives in {lives_there}: {vmms:?}"
    );
    Ok(())
}

/// The start as its record, the tool, the management socket and the node's count tell it.
fn observed(node: &Node, settings: &Settings, pod: &Pod<'_>) -> Result<()> {
    let start = restored(settings, pod)?;
    ensure!(!start.proof.is_empty(), "The shim kept no proof: {start:?}");
    println!("    {}", start.proof);
    let told = node.imprint(&["explain", pod.id()]).succeed()?;
    ensure!(
        told.contains("start: restored\nreason: Template matches (match)\n"),
        "{told}"
    );
    let metrics = management::get(&settings.run_root, pod.id(), "/metrics")?;
    let count = |phase: &str| {
        format!("imprint_start_duration_seconds_count{{path=\"restored\",phase=\"{phase}\"}} 1")
    };
    let mut expected = vec!["imprint_template_hits_total 1".to_owned(), count("total")];
    expected.extend(start.phases.iter().map(|phase| count(&phase.name)));
    for line in expected {
        ensure!(
            metrics.lines().any(|told| told == line),
            "{line} is not in\n{metrics}"
        );
    }
    ensure!(
        !metrics.contains("imprint_template_fallbacks_total{"),
        "{metrics}"
    );
    let status = node.imprint(&["factory", "status"]).succeed()?;
    ensure!(status.contains("pods restored: "), "{status}");
    Ok(())
}

fn after_init(node: &Node) -> Result<()> {
    let settings = without_template(node)?;
    node.imprint(&["factory", "init"]).succeed()?;
    ensure!(node.vmms().is_empty(), "A VMM of the template remains");
    ensure!(links(&settings)?.is_empty(), "{:?}", links(&settings)?);
    // The name that scripts know is a link into the template's own directory.
    let memory = settings.template_path.join("memory");
    let memory = memory
        .canonicalize()
        .map_err(Error::io("Resolving", &memory))?;
    let directory = memory.parent().unwrap_or(&memory);
    let entries = fs::read_dir(directory).map_err(Error::io("Listing", directory))?;
    let mut names: Vec<_> = entries.flatten().map(|entry| entry.file_name()).collect();
    names.sort();
    let known = ["failures", "manifest.json", "memory", "state"];
    let strange = names
        .iter()
        .filter(|name| !known.iter().any(|known| *name == known));
    ensure!(strange.count() == 0, "{names:?}");
    ensure!(names.len() >= 3, "{names:?}");
    node.imprint(&["factory", "destroy"]).succeed().map(drop)
}

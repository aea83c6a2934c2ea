//! Configurations and requests that cannot work: a clear error, and nothing left.

use std::{fs, time::Duration};

use e2e_tests::harness::Case;
use playground::{
    Error, Result, ensure, image::BUSYBOX, installation::replace_file, node::Node,
    running::Finished, settings::Settings,
};

use crate::lifecycle::service;

/// No error needs longer than this: nobody waits for a VM that cannot come.
const PROMPT: Duration = Duration::from_secs(20);

/// 5 MiB.
const LARGE: usize = 5 << 20;

pub fn cases() -> Vec<Case> {
    vec![
        Case::new("bad::an_unknown_key_is_named", unknown_key),
        Case::new("bad::a_missing_kernel_is_named", missing_kernel),
        Case::new("bad::a_kernel_that_is_none_is_named", kernel_that_is_none),
        Case::new("bad::no_memory_is_refused", no_memory),
        Case::new(
            "bad::a_template_path_that_is_a_file_is_named",
            template_path_is_a_file,
        ),
        Case::new(
            "bad::an_annotation_that_is_not_enabled_is_refused",
            annotation,
        ),
        Case::new(
            "bad::another_namespaces_id_leaves_its_task_alone",
            same_id_elsewhere,
        ),
        Case::new("bad::a_missing_command_is_named", missing_command),
        Case::new("bad::a_large_config_json_is_taken_or_refused", large_spec),
    ]
}

/// The run must have failed soon, with these words for the user.
fn refused(ended: &Finished, words: &[&str]) -> Result<()> {
    ensure!(ended.code != 0, "It was accepted: {ended:?}");
    ensure!(
        ended.elapsed < PROMPT,
        "The error took {:?}: {}",
        ended.elapsed,
        ended.stderr
    );
    for word in words {
        ensure!(
            ended.stderr.contains(word),
            "No {word:?} in the error: {}",
            ended.stderr.trim()
        );
    }
    println!("    {}", ended.stderr.trim());
    Ok(())
}

fn run(node: &Node) -> Result<Finished> {
    node.run("bad").command(&["true"]).run()
}

fn unknown_key(node: &Node) -> Result<()> {
    let text = node
        .settings()
        .text()
        .replace("default_memory", "default_memroy");
    replace_file(&node.config_path(), &text)?;
    refused(&run(node)?, &["default_memroy", "default_memory"])?;
    refused(
        &node.imprint(&["factory", "init"]).run()?,
        &["default_memroy"],
    )
}

fn missing_kernel(node: &Node) -> Result<()> {
    let kernel = node.directory().join("no-such-kernel");
    node.configure(&Settings {
        kernel,
        ..node.settings()
    })?;
    refused(&run(node)?, &["no-such-kernel"])
}

fn kernel_that_is_none(node: &Node) -> Result<()> {
    let kernel = node.directory().join("text-for-a-kernel");
    fs::write(&kernel, "This is no kernel.\n").map_err(Error::io("Writing", &kernel))?;
    node.configure(&Settings {
        kernel,
        ..node.settings()
    })?;
    refused(&run(node)?, &["kernel"])
}

fn no_memory(node: &Node) -> Result<()> {
    node.configure(&Settings {
        memory_mib: 0,
        ..node.settings()
    })?;
    refused(&run(node)?, &["default_memory"])
}

fn template_path_is_a_file(node: &Node) -> Result<()> {
    let path = node.directory().join("template-is-a-file");
    fs::write(&path, "not a template").map_err(Error::io("Writing", &path))?;
    let settings = Settings {
        template_path: path.clone(),
        enable_template: true,
        ..node.settings()
    };
    node.configure(&settings)?;
    let name = path.to_string_lossy();
    refused(&node.imprint(&["factory", "init"]).run()?, &[&name])?;
    refused(&run(node)?, &[&name])
}

fn annotation(node: &Node) -> Result<()> {
    let name = "io.katacontainers.config.hypervisor.default_memory";
    let run = node.run("bad").flag("--annotation");
    let ended = run.flag(&format!("{name}=512")).command(&["true"]).run()?;
    refused(&ended, &[name, "not enabled"])
}

/// containerd's ids are unique in a namespace. A task that cannot be made for the sake of another
/// namespace's must not end that one as it is cleaned up after.
fn same_id_elsewhere(node: &Node) -> Result<()> {
    let (id, running) = service(node, "twice")?;
    let other = node.ctr().in_namespace("other");
    other.import(&node.archive()?)?;
    let ended = other.run(&id).command(&["true"]).run()?;
    refused(&ended, &["already exists"])?;
    for container in other.containers()? {
        other.remove(&container)?;
    }
    other.remove_image(BUSYBOX)?;
    node.ctr().call(&["namespace", "rm", "other"]).succeed()?;
    let told = node.ctr().exec(&id, "alive", &[], &["echo", "alive"]);
    let told = told.succeed()?;
    ensure!(told == "alive\n", "{told}");
    node.ctr()
        .call(&["task", "kill", "--signal", "TERM", &id])
        .succeed()?;
    let ended = running.finish()?;
    ensure!(ended.code == 0, "{ended:?}");
    Ok(())
}

fn missing_command(node: &Node) -> Result<()> {
    let ended = node.run("absent").command(&["no-such-command"]).run()?;
    refused(&ended, &["no-such-command"])
}

fn large_spec(node: &Node) -> Result<()> {
    let spec = node.ctr().call(&["oci", "spec"]).succeed()?;
    let annotation = format!(
        "\"annotations\": {{\"large\": \"{}\"}},\n",
        "x".repeat(LARGE)
    );
    let spec = spec.replacen('{', &format!("{{{annotation}"), 1);
    let path = node.directory().join("large-config.json");
    fs::write(&path, spec).map_err(Error::io("Writing", &path))?;
    let id = node.unique_id("large");
    let path = path.to_string_lossy().into_owned();
    let ended = node.ctr().run_spec(&path, &id).run()?;
    if ended.code == 0 {
        println!("    it was taken");
        return Ok(());
    }
    refused(&ended, &["config.json"])
}

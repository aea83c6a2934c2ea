//! Configurations and requests that cannot work: a clear error, and nothing left.

use std::{fs, time::Duration};

use imprint_tests::{
    Error, Result, ensure,
    installation::{Settings, replace_file},
    program::Finished,
};

use crate::harness::{Case, Context};

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

fn run(context: &Context<'_>) -> Result<Finished> {
    context.node.run("bad").command(&["true"]).run()
}

fn unknown_key(context: &Context<'_>) -> Result<()> {
    let text = context
        .node
        .settings()
        .text()
        .replace("default_memory", "default_memroy");
    replace_file(&context.node.config_path(), &text)?;
    refused(&run(context)?, &["default_memroy", "default_memory"])?;
    refused(
        &context.node.imprint(&["factory", "init"]).run()?,
        &["default_memroy"],
    )
}

fn missing_kernel(context: &Context<'_>) -> Result<()> {
    let kernel = context.node.directory().join("no-such-kernel");
    context.node.configure(&Settings {
        kernel,
        ..context.node.settings()
    })?;
    refused(&run(context)?, &["no-such-kernel"])
}

fn kernel_that_is_none(context: &Context<'_>) -> Result<()> {
    let kernel = context.node.directory().join("text-for-a-kernel");
    fs::write(&kernel, "This is no kernel.\n").map_err(Error::io("Writing", &kernel))?;
    context.node.configure(&Settings {
        kernel,
        ..context.node.settings()
    })?;
    refused(&run(context)?, &["kernel"])
}

fn no_memory(context: &Context<'_>) -> Result<()> {
    context.node.configure(&Settings {
        memory_mib: 0,
        ..context.node.settings()
    })?;
    refused(&run(context)?, &["default_memory"])
}

fn missing_command(context: &Context<'_>) -> Result<()> {
    let ended = context
        .node
        .run("absent")
        .command(&["no-such-command"])
        .run()?;
    refused(&ended, &["no-such-command"])
}

fn large_spec(context: &Context<'_>) -> Result<()> {
    let node = context.node;
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

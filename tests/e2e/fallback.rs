//! Templates are on, and there is none that fits: the pod boots, and the log says why.

use std::fs;

use e2e_tests::harness::Case;
use playground::{Error, Result, ensure, node::Node, settings::Settings};

pub fn cases() -> Vec<Case> {
    [
        Case::new("another_memory_size_boots", other_memory),
        Case::new("a_truncated_state_boots", truncated_state),
        Case::new("no_template_boots", no_template),
    ]
    .map(Case::fallback)
    .to_vec()
}

fn with_templates(node: &Node) -> Settings {
    Settings {
        enable_template: true,
        ..node.settings()
    }
}

/// Starts a container, which must boot for a reason that holds one of these words.
fn boots_because(node: &Node, words: &[&str]) -> Result<()> {
    let mark = node.mark();
    let ended = node.run("fallback").shell("echo still-here").run()?;
    ensure!(
        ended.code == 0 && ended.stdout == "still-here\n",
        "{ended:?}"
    );
    let start = node.start_since(mark)?;
    ensure!(start.path.as_str() == "booted", "{start:?}");
    let reason = start.reason.to_lowercase();
    ensure!(
        words.iter().any(|word| reason.contains(word)),
        "The reason given: {}",
        start.reason
    );
    println!("    {}", start.reason);
    Ok(())
}

fn no_template(node: &Node) -> Result<()> {
    node.imprint(&["factory", "destroy"]).succeed()?;
    node.configure(&with_templates(node))?;
    boots_because(node, &["there is no vm template"])
}

fn other_memory(node: &Node) -> Result<()> {
    node.configure(&with_templates(node))?;
    node.ensure_template()?;
    node.configure(&Settings {
        memory_mib: 320,
        ..with_templates(node)
    })?;
    boots_because(node, &["memory"])
}

fn truncated_state(node: &Node) -> Result<()> {
    node.configure(&with_templates(node))?;
    node.ensure_template()?;
    // The name that scripts know is a link into the template's own directory.
    let memory = node.settings().template_path.join("memory");
    let memory = memory
        .canonicalize()
        .map_err(Error::io("Resolving", &memory))?;
    let state = memory.with_file_name("state");
    let file = fs::OpenOptions::new().write(true).open(&state);
    let file = file.map_err(Error::io("Opening", &state))?;
    let length = file
        .metadata()
        .map_err(Error::io("Measuring", &state))?
        .len();
    file.set_len(length / 2)
        .map_err(Error::io("Truncating", &state))?;
    let outcome = boots_because(node, &["state", "truncated", "length", "size", "digest"]);
    node.imprint(&["factory", "destroy"]).succeed()?;
    outcome
}

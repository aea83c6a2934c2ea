//! The demonstration: the same container in a booted and in a restored VM.

use std::time::Duration;

use serde::Serialize;

use crate::{
    Error, Result, ensure,
    installation::Artefacts,
    node::Node,
    playground::Playground,
    starts::{self, StartReport, side_by_side},
};

/// Starts of each kind; odd, so that the median is one of them.
const STARTS: usize = 5;

/// What the container says.
const GREETING: &str = "Hello from a virtual machine";

/// The line that a demonstration ends with.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Outcome {
    /// Median milliseconds from `ctr run` to the first byte of output, in a booted VM.
    pub boot_ms: f64,
    /// The same in a restored VM.
    pub restore_ms: f64,
    /// How many times faster the restored start is.
    pub ratio: f64,
    /// How the VMs of the second kind were started, as their shims say.
    pub start_path: String,
    /// Key of the template.
    pub template_key: String,
    /// What the container wrote.
    pub output: String,
}

/// What it says last.
const END: &str = "That is all.";

/// One start of the container, timed.
struct Sample {
    first_byte: Duration,
    /// How long the guest's kernel has been up, by its own account.
    uptime: Duration,
    output: String,
    start: StartReport,
}

/// Runs the demonstration; progress goes to standard error.
pub fn demo() -> Result<Outcome> {
    let artefacts = Artefacts::find()?;
    let node = Node::start(Playground::temporary("d")?, artefacts)?;
    eprintln!(
        "A private containerd runs in {}",
        node.directory().display()
    );
    let outcome = compare(&node);
    if let Err(error @ Error::Interrupted { .. }) = outcome {
        // A start that was cut short is no leak: the node removes it as it is dropped.
        eprintln!("Interrupted, cleaning up");
        return Err(error);
    }
    let leaks = node.close()?;
    eprintln!("After the demonstration, {leaks}");
    let outcome = outcome?;
    ensure!(leaks.is_empty(), "The demonstration did not clean up");
    Ok(outcome)
}

fn compare(node: &Node) -> Result<Outcome> {
    let mut settings = node.settings();
    eprintln!("Packing the image's root file system, once");
    let first = sample(node)?;
    tell("first", &first);

    let mut booted = Vec::with_capacity(STARTS);
    for _ in 0..STARTS {
        booted.push(sample(node)?);
        booted
            .last()
            .into_iter()
            .for_each(|sample| tell("booted", sample));
    }

    settings.enable_template = true;
    node.configure(&settings)?;
    let made = node.imprint(&["factory", "init"]).run()?;
    eprintln!(
        "imprint factory init: {} ({:.0} ms)",
        made.stdout.trim(),
        ms(made.elapsed)
    );
    made.success()?;

    let mut restored = Vec::with_capacity(STARTS);
    for _ in 0..STARTS {
        restored.push(sample(node)?);
        restored
            .last()
            .into_iter()
            .for_each(|sample| tell("restored", sample));
    }
    conclude(booted, restored)
}

/// Runs the container and times it. It stays until its start was looked at.
fn sample(node: &Node) -> Result<Sample> {
    let id = node.unique_id("demo");
    let script = format!("echo '{GREETING}'; cat /proc/uptime; echo {END}; read line");
    let mut running = node.ctr().run(&id).shell(&script).open_input().start()?;
    running.read_until(END)?;
    let start = starts::read(&node.settings().run_root, &id)?;
    running.write(b"\n");
    let ended = running.finish()?;
    let first_byte = ended.first_byte.unwrap_or_default();
    let output = ended.success()?;
    let mut lines = output.lines();
    let greeting = lines.next().unwrap_or_default().to_owned();
    let uptime = lines
        .next()
        .and_then(|line| line.split(' ').next()?.parse().ok());
    let uptime = uptime.map(Duration::from_secs_f64).ok_or_else(|| {
        Error::Unexpected(format!(
            "The guest does not say how long it is up: {output:?}"
        ))
    })?;
    Ok(Sample {
        first_byte,
        uptime,
        output: greeting,
        start,
    })
}

fn tell(kind: &str, sample: &Sample) {
    let (first_byte, uptime) = (ms(sample.first_byte), ms(sample.uptime));
    eprintln!(
        "{kind:>9}: {first_byte:>7.1} ms to {:?}, guest up for {uptime:.0} ms",
        sample.output
    );
}

fn conclude(mut booted: Vec<Sample>, mut restored: Vec<Sample>) -> Result<Outcome> {
    for (samples, path) in [(&booted, "booted"), (&restored, "restored")] {
        for Sample {
            start,
            uptime,
            first_byte,
            ..
        } in samples
        {
            ensure!(
                start.path.as_str() == path,
                "A VM was {}, not {path}: {}",
                start.path.as_str(),
                start.reason
            );
            // A guest that has been up for longer than its VMM exists was up before.
            let was_up_before = uptime > first_byte;
            ensure!(
                was_up_before == (path == "restored"),
                "A VM was {path}, and its guest is up for {uptime:?} after {first_byte:?}"
            );
        }
    }
    let slow = median(&mut booted)?;
    let fast = median(&mut restored)?;
    eprintln!("\n{}", side_by_side(&slow.start, &fast.start));
    for (name, sample) in [("booted", slow), ("restored", fast)] {
        eprintln!("The VMM of the {name} one: {}", sample.start.proof);
        let (uptime, first_byte) = (ms(sample.uptime), ms(sample.first_byte));
        eprintln!("Its guest: up for {uptime:.0} ms, {first_byte:.0} ms after it was asked for");
    }
    let ratio = slow.first_byte.as_secs_f64() / fast.first_byte.as_secs_f64();
    Ok(Outcome {
        boot_ms: round(ms(slow.first_byte)),
        restore_ms: round(ms(fast.first_byte)),
        ratio: round(ratio),
        start_path: fast.start.path.as_str().to_owned(),
        template_key: fast.start.template_key.clone().unwrap_or_default(),
        output: fast.output.clone(),
    })
}

fn median(samples: &mut [Sample]) -> Result<&Sample> {
    samples.sort_by_key(|sample| sample.first_byte);
    let middle = samples.len() / 2;
    samples
        .get(middle)
        .ok_or_else(|| Error::Unexpected("There is no sample".to_owned()))
}

fn ms(duration: Duration) -> f64 {
    duration.as_secs_f64() * 1e3
}

/// To a tenth: what is finer is noise.
fn round(value: f64) -> f64 {
    (value * 10.0).round() / 10.0
}

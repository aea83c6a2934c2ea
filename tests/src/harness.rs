//! Runs the cases one after the other on one node, and checks after each what it left behind.

use std::{process::ExitCode, time::Instant};

use playground::{
    Error, Result, installation::Artefacts, log::Mark, node::Node, playground::Playground,
    settings::Settings, starts, wait,
};

/// How the sandboxes of a case are started.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mode {
    /// Templates are off.
    Booted,
    /// Templates are on, and there is one that fits.
    Restored,
    /// The case configures the node itself.
    Own,
}

/// One test.
#[derive(Clone)]
pub struct Case {
    name: String,
    mode: Mode,
    /// It may end before any sandbox was started.
    early: bool,
    body: fn(&Node) -> Result<()>,
}

impl Case {
    /// A case that runs in whatever mode it is put.
    pub fn new(name: &str, body: fn(&Node) -> Result<()>) -> Self {
        Self {
            name: name.to_owned(),
            mode: Mode::Own,
            early: false,
            body,
        }
    }

    /// The case, which may end before any sandbox was started.
    pub fn early(self) -> Self {
        Self {
            early: true,
            ..self
        }
    }

    /// The case in booted sandboxes.
    pub fn booted(self) -> Self {
        Self {
            name: format!("booted::{}", self.name),
            mode: Mode::Booted,
            ..self
        }
    }

    /// The case, which configures the node itself, about what happens without a fitting template.
    pub fn fallback(self) -> Self {
        Self {
            name: format!("fallback::{}", self.name),
            ..self
        }
    }

    /// The case in restored sandboxes.
    pub fn restored(self) -> Self {
        Self {
            name: format!("restored::{}", self.name),
            mode: Mode::Restored,
            ..self
        }
    }
}

/// The runner.
pub struct Harness {
    filters: Vec<String>,
    list: bool,
    prepare: fn(&Node) -> Result<()>,
}

#[derive(Default)]
struct Tally {
    passed: usize,
    skipped: usize,
    failed: Vec<String>,
}

impl Harness {
    /// Takes name filters, and `--list`; other options of cargo's own harness mean nothing here.
    pub fn from_arguments(arguments: impl Iterator<Item = String>) -> Self {
        let (options, filters): (Vec<_>, Vec<_>) =
            arguments.partition(|argument| argument.starts_with("--"));
        Self {
            filters,
            list: options.iter().any(|option| option == "--list"),
            prepare: |_| Ok(()),
        }
    }

    /// Has the node prepared before the first case.
    pub fn preparing(self, prepare: fn(&Node) -> Result<()>) -> Self {
        Self { prepare, ..self }
    }

    /// Runs the cases that the filters choose.
    pub fn run(&self, cases: Vec<Case>) -> ExitCode {
        let chosen = |case: &Case| {
            self.filters.is_empty() || self.filters.iter().any(|part| case.name.contains(part))
        };
        let chosen: Vec<Case> = cases.into_iter().filter(chosen).collect();
        if self.list {
            chosen
                .iter()
                .for_each(|case| println!("{}: test", case.name));
            return ExitCode::SUCCESS;
        }
        if std::env::var("IMPRINT_E2E").is_err() {
            println!(
                "SKIPPED: {} end-to-end tests, IMPRINT_E2E is not set",
                chosen.len()
            );
            println!(
                "test result: ok. 0 passed; 0 failed; {} ignored",
                chosen.len()
            );
            return ExitCode::SUCCESS;
        }
        let count = chosen.len();
        let tally = run_all(chosen, self.prepare).unwrap_or_else(|error| {
            if let Error::Unavailable { .. } = error {
                println!("SKIPPED: {count} end-to-end tests: {}", error.chain());
                return Tally {
                    skipped: count,
                    ..Tally::default()
                };
            }
            println!(
                "The end-to-end tests did not run to their end: {}",
                error.chain()
            );
            Tally {
                failed: vec!["the node itself".to_owned(); count.max(1)],
                ..Tally::default()
            }
        });
        tally
            .failed
            .iter()
            .for_each(|name| println!("failed: {name}"));
        let verdict = if tally.failed.is_empty() {
            "ok"
        } else {
            "FAILED"
        };
        let (passed, failed) = (tally.passed, tally.failed.len());
        println!(
            "test result: {verdict}. {passed} passed; {failed} failed; {} ignored",
            tally.skipped
        );
        if tally.failed.is_empty() {
            ExitCode::SUCCESS
        } else {
            ExitCode::FAILURE
        }
    }
}

fn run_all(cases: Vec<Case>, prepare: fn(&Node) -> Result<()>) -> Result<Tally> {
    wait::catch_signals()?;
    if !rustix::process::geteuid().is_root() {
        return Err(Error::Unexpected("they need root".to_owned()));
    }
    // First: a playground that was made must reach a node, which removes it.
    let artefacts = Artefacts::find()?;
    let node = Node::start(Playground::temporary("t")?, artefacts)?;
    prepare(&node)?;
    println!(
        "running {} tests with {} in {}",
        cases.len(),
        node.artefacts().containerd,
        node.directory().display()
    );
    let mut tally = Tally::default();
    for case in cases {
        let started = Instant::now();
        let outcome = one(&node, &case);
        let seconds = started.elapsed().as_secs_f64();
        match outcome {
            Ok(()) => {
                println!("test {} ... ok ({seconds:.1} s)", case.name);
                tally.passed += 1;
            }
            Err(error @ Error::Interrupted { .. }) => return Err(error),
            Err(error @ Error::Unavailable { .. }) => {
                println!("test {} ... SKIPPED: {}", case.name, error.chain());
                tally.skipped += 1;
            }
            Err(error) => {
                println!(
                    "test {} ... FAILED ({seconds:.1} s)\n    {}",
                    case.name,
                    error.chain()
                );
                tally.failed.push(case.name);
            }
        }
    }
    let leaks = node.close()?;
    let clean = leaks.is_empty();
    println!(
        "test the_node_leaves_nothing ... {}",
        if clean { "ok" } else { "FAILED" }
    );
    if clean {
        tally.passed += 1;
    } else {
        println!("    {leaks}");
        tally.failed.push("the_node_leaves_nothing".to_owned());
    }
    Ok(tally)
}

/// Runs one case and puts the node back into order.
fn one(node: &Node, case: &Case) -> Result<()> {
    prepare(node, case.mode)?;
    let before = node.snapshot()?;
    let began = node.mark();
    let outcome = (case.body)(node).and_then(|()| paths(node, began, case));
    // Looked at while the case's own cleanup is all that was done.
    let leaks = node.left_since(&before)?;
    let outcome = match outcome {
        Ok(()) if !leaks.is_empty() => Err(Error::Unexpected(leaks.to_string())),
        Err(error) if !leaks.is_empty() => {
            let error = error.chain();
            Err(Error::Unexpected(format!("{error}\n    {leaks}")))
        }
        outcome => outcome,
    };
    if outcome.is_err() {
        println!("{}", last_lines(&node.log().since(began), 40));
        node.reset()?;
    }
    outcome
}

/// The last lines of the log that are of interest.
fn last_lines(log: &str, count: usize) -> String {
    let lines: Vec<&str> = log
        .lines()
        .filter(|line| !line.contains("level=debug"))
        .collect();
    let skipped = lines.len().saturating_sub(count);
    lines[skipped..]
        .iter()
        .map(|line| format!("    | {line}\n"))
        .collect()
}

fn prepare(node: &Node, mode: Mode) -> Result<()> {
    let enable_template = mode == Mode::Restored;
    node.configure(&Settings {
        enable_template,
        ..node.settings()
    })?;
    if enable_template {
        node.ensure_template()
    } else {
        Ok(())
    }
}

/// Whether another runtime is looked at, which starts no VM.
fn compares() -> bool {
    ["IMPRINT_RUNTIME", "IMPRINT_CRI_HANDLER"]
        .iter()
        .any(|name| std::env::var(name).is_ok_and(|runtime| runtime.contains("runc")))
}

/// Every sandbox that was started since must have come by the path that the mode stands for; and
/// one must have been, unless its shim has said that it made none.
fn paths(node: &Node, began: Mark, case: &Case) -> Result<()> {
    let expected = match case.mode {
        Mode::Booted => "booted",
        Mode::Restored => "restored",
        Mode::Own => return Ok(()),
    };
    if compares() {
        return Ok(());
    }
    let refused = |line: &str| line.contains("request failed") && line.contains("request=Create");
    if !case.early && !node.log().since(began).lines().any(refused) {
        // A log without a single start proves nothing of how sandboxes start.
        node.start_since(began)?;
    }
    for start in node.log().since(began).lines().filter_map(starts::parse) {
        let start = start?;
        playground::ensure!(
            start.path.as_str() == expected,
            "A sandbox was {}, because: {}",
            start.path.as_str(),
            start.reason
        );
    }
    Ok(())
}

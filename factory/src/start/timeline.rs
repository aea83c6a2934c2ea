//! How long the steps of a sandbox's start took: for the log, and in the sandbox's directory for
//! whoever asks later.
//!
//! `start.json`, mode 0600, written once when the first container has been made:
//!
//! ```json
//! {
//!   "start_path": "restored",
//!   "template_key": "3f6c...",
//!   "reason": "...",
//!   "reason_label": "fits",
//!   "shape": {"memory_mib": 256, "vcpus": 1, "max_memory_mib": 1024, "max_vcpus": 2},
//!   "proof": "...",
//!   "total_ms": 312.4,
//!   "phases": [{"name": "config", "start_ms": 0.0, "ms": 1.2}]
//! }
//! ```
//!
//! `start_ms` counts from the arrival of the Create request. Phases overlap where steps run beside
//! each other. Names: `config`, `probe`, `plan`, `turn` (the wait for the node's other
//! starts), `vm` (with those of the VM's start beneath it,
//! as `vm.<name>`, one after the other), `rootfs` (with `rootfs.pack` when an image was made),
//! `sandbox`, `disk`, `container`.

use std::{
    fs::OpenOptions,
    io::{self, Write},
    os::unix::fs::OpenOptionsExt,
    path::Path,
    time::{Duration, Instant},
};

use factory::Shape;
use serde::Serialize;

/// Name of the file.
pub const FILE: &str = "start.json";

/// Steps with their times, since a common beginning.
#[derive(Debug, Clone)]
pub struct Timeline {
    began: Instant,
    phases: Vec<Phase>,
}

/// One step.
#[derive(Debug, Clone, Serialize)]
pub struct Phase {
    name: String,
    start_ms: f64,
    ms: f64,
}

/// How a sandbox was started: the content of the file.
#[derive(Debug, Serialize)]
pub struct StartReport {
    /// `restored` or `booted`.
    pub start_path: String,
    /// The template's key; absent where none was looked at.
    pub template_key: Option<String>,
    /// Why this path.
    pub reason: String,
    /// The reason as one stable word, as the metrics have it.
    pub reason_label: &'static str,
    /// The VM's size: a template may be larger than what was asked for.
    pub shape: Shape,
    /// The monitor's words on how the VM came to be.
    pub proof: String,
    /// From the Create request to the container being made.
    pub total_ms: f64,
    /// The steps.
    pub phases: Vec<Phase>,
}

impl Timeline {
    /// Begins now.
    pub fn begin() -> Self {
        Self {
            began: Instant::now(),
            phases: Vec::new(),
        }
    }

    /// Records a step that ends now.
    pub fn ended(&mut self, name: impl Into<String>, start: Instant) {
        self.took(name, start, start.elapsed());
    }

    /// Records a step by its length.
    pub fn took(&mut self, name: impl Into<String>, start: Instant, length: Duration) {
        let start_ms = ms(start.saturating_duration_since(self.began));
        self.phases.push(Phase {
            name: name.into(),
            start_ms,
            ms: ms(length),
        });
    }

    /// Milliseconds since the beginning.
    pub fn total_ms(&self) -> f64 {
        ms(self.began.elapsed())
    }

    /// The steps.
    pub fn phases(&self) -> &[Phase] {
        &self.phases
    }

    /// Name of each step, and its length in milliseconds.
    pub fn lengths(&self) -> impl Iterator<Item = (&str, f64)> {
        self.phases
            .iter()
            .map(|phase| (phase.name.as_str(), phase.ms))
    }

    /// The steps in one line: `name=ms`, separated by spaces.
    pub fn line(&self) -> String {
        let phases: Vec<String> = self
            .phases
            .iter()
            .map(|phase| format!("{}={:.1}", phase.name, phase.ms))
            .collect();
        phases.join(" ")
    }
}

impl StartReport {
    /// Writes the file into a sandbox's directory, and answers its content.
    ///
    /// # Errors
    /// It could not be written; nobody depends on it.
    pub fn write(&self, directory: &Path) -> io::Result<Vec<u8>> {
        let text = serde_json::to_vec(self)?;
        let mut file = OpenOptions::new()
            .write(true)
            .create(true)
            .truncate(true)
            .mode(0o600)
            .open(directory.join(FILE))?;
        file.write_all(&text)?;
        Ok(text)
    }
}

fn ms(duration: Duration) -> f64 {
    (duration.as_secs_f64() * 10_000.0).round() / 10.0
}

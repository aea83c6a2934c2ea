//! How a VM was started: the record that explains each start.

use std::time::{Duration, Instant};

use serde::{Serialize, Serializer};

use crate::identity::Shape;

/// Label of the reason that templates are not enabled.
pub(super) const DISABLED: &str = "disabled";

/// How a VM came to be.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum StartPath {
    /// From a template.
    Restored,
    /// From its kernel.
    Booted,
}

impl StartPath {
    /// `restored` or `booted`.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Restored => "restored",
            Self::Booted => "booted",
        }
    }
}

/// One part of a start.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct Phase {
    /// What was done.
    pub name: &'static str,
    /// How long it took; in JSON, milliseconds.
    #[serde(rename = "ms", serialize_with = "milliseconds")]
    pub took: Duration,
}

/// How a VM was started, why so, and how long each part took.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct StartRecord {
    /// How.
    pub path: StartPath,
    /// Key of the template that was restored, or that was tried.
    pub template_key: Option<String>,
    /// The VM's size: a template may be larger than what was asked for.
    pub shape: Shape,
    /// Why this way.
    pub reason: String,
    /// [`crate::start::BootReason::label`], or `fits`.
    pub reason_label: &'static str,
    /// In order, without gaps.
    pub phases: Vec<Phase>,
    /// The monitor's own words for how the VM came to be.
    pub proof: String,
}

impl StartRecord {
    /// Whether the VM was booted although templates are enabled.
    pub fn is_fallback(&self) -> bool {
        self.path == StartPath::Booted && self.reason_label != DISABLED
    }

    /// The phases as one line: `restore 42 ms, resume 1 ms`.
    pub fn phases_line(&self) -> String {
        let texts = self
            .phases
            .iter()
            .map(|phase| format!("{} {:.1} ms", phase.name, phase.took.as_secs_f64() * 1e3));
        texts.collect::<Vec<_>>().join(", ")
    }
}

fn milliseconds<S: Serializer>(took: &Duration, to: S) -> Result<S::Ok, S::Error> {
    // Microseconds are the finest that says anything.
    to.serialize_f64((took.as_secs_f64() * 1e6).round() / 1e3)
}

/// A running record: each mark ends a phase and begins the next.
pub(super) struct Phases {
    since: Instant,
    pub(super) done: Vec<Phase>,
}

impl Phases {
    pub(super) fn begin() -> Self {
        Self {
            since: Instant::now(),
            done: Vec::new(),
        }
    }

    pub(super) fn mark(&mut self, name: &'static str) {
        let now = Instant::now();
        self.done.push(Phase {
            name,
            took: now - self.since,
        });
        self.since = now;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_record_is_told_in_json_and_in_a_line() {
        let record = StartRecord {
            path: StartPath::Restored,
            template_key: Some("ab".into()),
            shape: Shape {
                memory_mib: 256,
                vcpus: 1,
                max_memory_mib: 512,
                max_vcpus: 2,
            },
            reason: "Template fits".into(),
            reason_label: "fits",
            phases: vec![
                Phase {
                    name: "restore",
                    took: Duration::from_micros(42_300),
                },
                Phase {
                    name: "resume",
                    took: Duration::from_millis(1),
                },
            ],
            proof: "incoming migration completed".into(),
        };
        assert_eq!(record.phases_line(), "restore 42.3 ms, resume 1.0 ms");
        assert_eq!(
            serde_json::to_string(&record).unwrap(),
            r#"{"path":"restored","template_key":"ab","shape":{"memory_mib":256,"vcpus":1,"max_memory_mib":512,"max_vcpus":2},"reason":"Template fits","reason_label":"fits","phases":[{"name":"restore","ms":42.3},{"name":"resume","ms":1.0}],"proof":"incoming migration completed"}"#
        );
    }
}

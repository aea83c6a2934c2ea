//! The report of a start: how a VM was started. It is written, logged, counted and read in this one
//! form.
//!
//! A shim writes it into its sandbox's directory as [`FILE`] once the first container is created:
//!
//! ```json
//! {
//!   "version": 1,
//!   "sandbox": "3d2c...",
//!   "start_path": "restored",
//!   "template_key": "3f6c...",
//!   "reason": "Template matches",
//!   "reason_label": "match",
//!   "size": {"memory_mib": 256, "vcpus": 1},
//!   "max_size": {"memory_mib": 1024, "vcpus": 2},
//!   "first_disk": "in-slot",
//!   "proof": "incoming migration completed",
//!   "total_ms": 312.4,
//!   "phases": [{"name": "config", "start_ms": 0.0, "ms": 1.2}]
//! }
//! ```

use std::{
    io,
    path::{Path, PathBuf},
};

use hypervisors::VmSize;
use serde::{Deserialize, Serialize};
use system::file;

use super::{plan::FirstDisk, reason::ReasonLabel, timeline::Timeline};

/// Name of the report's file in a sandbox's directory.
pub const FILE: &str = "start.json";

/// Version of the report's form. It is raised by a change that older readers would misread.
pub const VERSION: u32 = 1;

/// No report is longer; one has some 2 KiB.
const MAX_LENGTH: u64 = 256 * 1024;

/// The way by which a VM came to be.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum StartPath {
    /// Restored from a template.
    Restored,
    /// Booted from its kernel.
    Booted,
}

impl StartPath {
    /// The path as it is written: `restored` or `booted`.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Restored => "restored",
            Self::Booted => "booted",
        }
    }
}

/// How a VM was started, why so, and where the time went.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct StartReport {
    /// Version of the report's form: [`VERSION`].
    pub version: u32,
    /// Id of the sandbox whose VM it is.
    pub sandbox: String,
    /// Whether the VM was restored or booted.
    #[serde(rename = "start_path")]
    pub path: StartPath,
    /// Key of the template that was restored, or that was tried; `None` if there was none.
    pub template_key: Option<String>,
    /// Why it was restored or booted, in words.
    pub reason: String,
    /// The label of the reason.
    pub reason_label: ReasonLabel,
    /// The VM's size when it was handed out. It is larger than requested if the template was.
    pub size: VmSize,
    /// The size that the VM can grow to.
    pub max_size: VmSize,
    /// How the VM got its first container's root disk.
    pub first_disk: FirstDisk,
    /// What the VMM itself answers when it is asked how the VM came to be.
    pub proof: String,
    /// From the request to the moment of the report, in milliseconds.
    pub total_ms: f64,
    /// The steps, in the order in which they ended.
    pub phases: Vec<Phase>,
}

/// One step of a start.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Phase {
    /// A name of [`StartStep`](super::StartStep).
    pub name: String,
    /// When it began, in milliseconds after the request.
    pub start_ms: f64,
    /// How long it took, in milliseconds.
    pub ms: f64,
}

/// A report that cannot be read.
#[derive(Debug, thiserror::Error)]
pub enum ReportError {
    /// The file is missing, or cannot be read.
    #[error("Cannot read {path}")]
    Io {
        /// The file that cannot be read.
        path: PathBuf,
        /// The error of the operating system.
        #[source]
        source: io::Error,
    },
    /// The file is not a report.
    #[error("{path} is not a report of a start")]
    Invalid {
        /// The file that was read.
        path: PathBuf,
        /// Where it differs from a report.
        #[source]
        source: serde_json::Error,
    },
    /// Another version of this program wrote it.
    #[error(
        "{path} is of another version of Imprint: it has form {found}, this one reads {VERSION}"
    )]
    Version {
        /// The file that was read.
        path: PathBuf,
        /// Its version; 0 if it has none.
        found: u32,
    },
}

/// The version alone, which can be read whatever the rest is.
#[derive(Deserialize)]
struct VersionOnly {
    #[serde(default)]
    version: u32,
}

impl StartReport {
    /// Whether the VM was booted although templates are enabled.
    #[must_use]
    pub fn is_fallback(&self) -> bool {
        self.path == StartPath::Booted && self.reason_label != ReasonLabel::Disabled
    }

    /// The steps in one line: `vm.restore 42.3 ms, vm.resume 1.0 ms`.
    #[must_use]
    pub fn phases_line(&self) -> String {
        let phases = self.phases.iter();
        let texts: Vec<_> = phases
            .map(|phase| format!("{} {:.1} ms", phase.name, phase.ms))
            .collect();
        texts.join(", ")
    }

    /// The report with the steps that were recorded until now.
    #[must_use]
    pub fn as_of(mut self, timeline: &Timeline) -> Self {
        self.total_ms = timeline.total_ms();
        self.phases = timeline.phases().to_vec();
        self
    }

    /// The report as text.
    ///
    /// # Errors
    /// Never for a report that this program makes.
    pub fn to_json(&self) -> serde_json::Result<String> {
        serde_json::to_string(self)
    }

    /// Writes the report into a sandbox's directory, mode 0600, in place of an earlier one.
    ///
    /// # Errors
    /// It could not be written; nothing depends on it.
    pub fn write(&self, directory: &Path) -> io::Result<()> {
        let text = self.to_json()?;
        file::replace(&directory.join(FILE), text.as_bytes())
    }

    /// Reads the report in a sandbox's directory.
    ///
    /// # Errors
    /// There is none yet, or none that this program can read.
    pub fn read(directory: &Path) -> Result<Self, ReportError> {
        let path = directory.join(FILE);
        let text = match file::read(&path, MAX_LENGTH) {
            Ok(text) => text,
            Err(source) => return Err(ReportError::Io { path, source }),
        };
        let parsed = serde_json::from_slice(&text)
            .map(|VersionOnly { version }| (version, serde_json::from_slice(&text)));
        match parsed {
            Ok((VERSION, Ok(report))) => Ok(report),
            Ok((VERSION, Err(source))) | Err(source) => Err(ReportError::Invalid { path, source }),
            Ok((found, _)) => Err(ReportError::Version { path, found }),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A report as the first version of the form wrote it. It must stay readable.
    const FIRST: &str = concat!(
        r#"{"version":1,"sandbox":"pod","start_path":"booted","template_key":"ab","#,
        r#""reason":"Restore failed: no","reason_label":"restore-failed","#,
        r#""size":{"memory_mib":256,"vcpus":1},"max_size":{"memory_mib":512,"vcpus":2},"#,
        r#""first_disk":"in-slot","proof":"booted","total_ms":93.4,"phases":["#,
        r#"{"name":"vm.restore","start_ms":2.0,"ms":42.3},"#,
        r#"{"name":"vm.boot","start_ms":50.1,"ms":1.0}]}"#,
    );

    #[test]
    fn what_is_written_is_read_and_the_form_stays() {
        let report: StartReport = serde_json::from_str(FIRST).unwrap();
        assert_eq!(report.to_json().unwrap(), FIRST);
        let dir = tempfile::tempdir().unwrap();
        report.write(dir.path()).unwrap();
        assert_eq!(StartReport::read(dir.path()).unwrap(), report);
        assert_eq!(report.phases_line(), "vm.restore 42.3 ms, vm.boot 1.0 ms");
        assert!(report.is_fallback());
    }

    #[test]
    fn what_cannot_be_read_is_named() {
        let dir = tempfile::tempdir().unwrap();
        let read = |text: &str| {
            std::fs::write(dir.path().join(FILE), text).unwrap();
            StartReport::read(dir.path()).unwrap_err().to_string()
        };
        assert!(read("{\"start_path\":\"booted\"}").ends_with("it has form 0, this one reads 1"));
        assert!(read("{\"version\":2}").contains("form 2"));
        assert!(read("{\"version\":1}").contains("is not a report"));
        assert!(read("no").contains("is not a report"));
        std::fs::remove_file(dir.path().join(FILE)).unwrap();
        let missing = StartReport::read(dir.path()).unwrap_err();
        assert!(matches!(missing, ReportError::Io { .. }));
    }
}

//! How a VM was started: the one form in which it is written, logged, counted and read.
//!
//! A shim writes it into its sandbox's directory as [`FILE`] once the first container is made:
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
    fs::OpenOptions,
    io::{self, Read, Write},
    os::unix::fs::OpenOptionsExt,
    path::{Path, PathBuf},
};

use hypervisors::VmSize;
use nix::fcntl::OFlag;
use serde::{Deserialize, Serialize};

use super::{plan::FirstDisk, reason::ReasonLabel, timeline::Timeline};

/// Name of the file, in a sandbox's directory.
pub const FILE: &str = "start.json";

/// Version of the form. A change that older readers would misread changes it.
pub const VERSION: u32 = 1;

/// No report is longer; one has some 2 KiB.
const MAX_LENGTH: u64 = 256 * 1024;

/// The way by which a VM came to be.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum StartPath {
    /// From a template.
    Restored,
    /// From its kernel.
    Booted,
}

impl StartPath {
    /// `restored` or `booted`.
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
    /// [`VERSION`].
    pub version: u32,
    /// Id of the sandbox whose VM it is.
    pub sandbox: String,
    /// The way.
    #[serde(rename = "start_path")]
    pub path: StartPath,
    /// Key of the template that was restored, or that was tried; absent where none was.
    pub template_key: Option<String>,
    /// Why this way, in words.
    pub reason: String,
    /// The same as one stable word.
    pub reason_label: ReasonLabel,
    /// The VM's size when it was handed out: a template may be larger than what was asked for.
    pub size: VmSize,
    /// The size that the VM can grow to.
    pub max_size: VmSize,
    /// How the VM got its first container's root disk.
    pub first_disk: FirstDisk,
    /// The VMM's own words for how the VM came to be.
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
    /// The file is not there, or cannot be read.
    #[error("Cannot read {path}")]
    Io {
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// It is none.
    #[error("{path} is not a report of a start")]
    Invalid {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        #[source]
        source: serde_json::Error,
    },
    /// Another version of this program wrote it.
    #[error("{path} has version {found}, this program reads {VERSION}")]
    Version {
        /// The file.
        path: PathBuf,
        /// Its version; 0 if it has none.
        found: u32,
    },
}

/// The version can be read whatever the rest is.
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

    /// The same start as of now: with the steps that were taken since.
    #[must_use]
    pub fn as_of(mut self, timeline: &Timeline) -> Self {
        self.total_ms = timeline.total_ms();
        self.phases = timeline.phases().to_vec();
        self
    }

    /// The report as text.
    ///
    /// # Errors
    /// Not for any report that this program makes.
    pub fn to_json(&self) -> serde_json::Result<String> {
        serde_json::to_string(self)
    }

    /// Writes the report into a sandbox's directory, mode 0600, in place of an earlier one.
    ///
    /// # Errors
    /// It could not be written; nothing depends on it.
    pub fn write(&self, directory: &Path) -> io::Result<()> {
        let text = self.to_json()?;
        let mut file = OpenOptions::new()
            .write(true)
            .create(true)
            .truncate(true)
            .mode(0o600)
            .open(directory.join(FILE))?;
        file.write_all(text.as_bytes())
    }

    /// Reads the report in a sandbox's directory.
    ///
    /// # Errors
    /// There is none yet, or none that this program can read.
    pub fn read(directory: &Path) -> Result<Self, ReportError> {
        let path = directory.join(FILE);
        let mut text = Vec::new();
        let opened = OpenOptions::new()
            .read(true)
            .custom_flags((OFlag::O_NOFOLLOW | OFlag::O_NONBLOCK).bits())
            .open(&path);
        let read = opened.and_then(|file| file.take(MAX_LENGTH).read_to_end(&mut text));
        if let Err(source) = read {
            return Err(ReportError::Io { path, source });
        }
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

    /// A report as the first version of the form wrote it: what can be read once can be read always.
    const FIRST: &str = r#"{"version":1,"sandbox":"pod","start_path":"booted","template_key":"ab","reason":"Restore failed: no","reason_label":"restore-failed","size":{"memory_mib":256,"vcpus":1},"max_size":{"memory_mib":512,"vcpus":2},"first_disk":"in-slot","proof":"booted","total_ms":93.4,"phases":[{"name":"vm.restore","start_ms":2.0,"ms":42.3},{"name":"vm.boot","start_ms":50.1,"ms":1.0}]}"#;

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
        assert!(
            read("{\"start_path\":\"booted\"}").ends_with("has version 0, this program reads 1")
        );
        assert!(read("{\"version\":2}").contains("version 2"));
        assert!(read("{\"version\":1}").contains("is not a report"));
        assert!(read("no").contains("is not a report"));
        std::fs::remove_file(dir.path().join(FILE)).unwrap();
        let missing = StartReport::read(dir.path()).unwrap_err();
        assert!(matches!(missing, ReportError::Io { .. }));
    }
}

//! How the VMs of a node were started, in numbers. All shims count in one small file.
//!
//! `starts.json` in the run root is replaced as a whole under a lock, so its readers need no lock.
//! It stays small: reasons are counted by their label, and only the last few boots are listed with
//! their reason in words. The run root is emptied by a reboot of the node, and so the counts are.

use std::{collections::BTreeMap, io, path::Path, time::Duration};

use serde::{Deserialize, Serialize};
use system::{file, time::since_epoch};

use super::report::{StartPath, StartReport};
use crate::store::blocking;

const FILE: &str = "starts.json";
const LOCK: &str = "starts.lock";
/// No file is longer; a longer one counts as damaged and is replaced.
const MAX_LENGTH: u64 = 64 * 1024;
/// Boots that are listed with their reason in words.
const LAST_BOOTS: usize = 16;
/// Characters of a reason that are stored.
const MAX_REASON: usize = 500;
/// How long a start waits for the lock; others hold it for less than a millisecond.
const LOCK_TIMEOUT: Duration = Duration::from_secs(2);

/// How many VMs were started, in which way, and why.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct StartCounts {
    /// When the first one was counted, in seconds since the epoch.
    pub since: u64,
    /// VMs that were restored.
    pub restored: u64,
    /// VMs that were booted, by [`StartReport::reason_label`].
    pub booted: BTreeMap<String, u64>,
    /// The last boots where templates were enabled, oldest first.
    pub last_boots: Vec<CountedBoot>,
}

/// A VM that was booted although templates were enabled.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CountedBoot {
    /// When, in seconds since the epoch.
    pub at: u64,
    /// Id of the sandbox whose VM it is.
    pub id: String,
    /// Why it was booted, in words; cut to 500 characters.
    pub reason: String,
}

impl StartCounts {
    /// What was counted so far in `run_root`; nothing, if there is no file or it cannot be read.
    pub fn read(run_root: &Path) -> Self {
        let read = file::read(&run_root.join(FILE), MAX_LENGTH);
        let counts = read
            .ok()
            .and_then(|text| serde_json::from_slice(&text).ok());
        counts.unwrap_or_default()
    }

    /// Counts a start.
    ///
    /// # Errors
    /// It was not counted, since the file could not be locked within 2 s or not be written. Nothing
    /// depends on it.
    pub async fn count(run_root: &Path, report: &StartReport) -> io::Result<()> {
        let lock_path = run_root.join(LOCK);
        let (root, report) = (run_root.to_owned(), report.clone());
        let counted = blocking(move || {
            // The lock ends with the descriptor.
            let lock = file::open_or_make(&lock_path)?;
            lock.lock()?;
            add(&root, &report)
        });
        match tokio::time::timeout(LOCK_TIMEOUT, counted).await {
            Ok(done) => done,
            Err(_) => Err(io::Error::new(
                io::ErrorKind::TimedOut,
                format!(
                    "timed out after {LOCK_TIMEOUT:?} waiting for the lock {}",
                    run_root.join(LOCK).display()
                ),
            )),
        }
    }
}

fn add(run_root: &Path, report: &StartReport) -> io::Result<()> {
    let mut counts = StartCounts::read(run_root);
    let now = since_epoch().as_secs();
    if counts.since == 0 {
        counts.since = now;
    }
    match report.path {
        StartPath::Restored => counts.restored += 1,
        StartPath::Booted => {
            let label = report.reason_label.to_string();
            *counts.booted.entry(label).or_default() += 1;
        }
    }
    if report.is_fallback() {
        let reason: String = report.reason.chars().take(MAX_REASON).collect();
        counts.last_boots.push(CountedBoot {
            at: now,
            id: report.sandbox.clone(),
            reason,
        });
        let surplus = counts.last_boots.len().saturating_sub(LAST_BOOTS);
        counts.last_boots.drain(..surplus);
    }
    file::replace(&run_root.join(FILE), &serde_json::to_vec(&counts)?)
}

#[cfg(test)]
mod tests {
    use std::{fs, sync::Arc};

    use hypervisors::VmSize;

    use super::*;
    use crate::start::{FirstDisk, ReasonLabel};

    fn report(path: StartPath, reason_label: ReasonLabel) -> StartReport {
        let size = VmSize {
            memory_mib: 1,
            vcpus: 1,
        };
        StartReport {
            version: 1,
            sandbox: "pod".to_owned(),
            path,
            template_key: None,
            reason: format!("because {reason_label}"),
            reason_label,
            size,
            max_size: size,
            first_disk: FirstDisk::Later,
            proof: String::new(),
            total_ms: 0.0,
            phases: Vec::new(),
        }
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn starts_of_many_shims_at_once_are_all_counted() {
        let dir = Arc::new(tempfile::tempdir().unwrap());
        let kinds = [
            report(StartPath::Restored, ReasonLabel::Match),
            report(StartPath::Booted, ReasonLabel::Absent),
            report(StartPath::Booted, ReasonLabel::Disabled),
        ];
        let tasks: Vec<_> = (0..60)
            .map(|n: usize| {
                let (dir, report) = (dir.clone(), kinds[n % 3].clone());
                tokio::spawn(async move {
                    StartCounts::count(dir.path(), &report).await.unwrap();
                })
            })
            .collect();
        for task in tasks {
            task.await.unwrap();
        }
        let counts = StartCounts::read(dir.path());
        assert_eq!(counts.restored, 20);
        assert_eq!(counts.booted["absent"], 20);
        assert_eq!(counts.booted["disabled"], 20);
        // Only boots where templates are enabled, and only the last ones.
        assert_eq!(counts.last_boots.len(), LAST_BOOTS);
        assert!(
            counts
                .last_boots
                .iter()
                .all(|boot| boot.reason == "because absent")
        );
    }

    #[tokio::test]
    async fn a_damaged_file_is_replaced() {
        let dir = tempfile::tempdir().unwrap();
        for damage in [&b"{\"since\":1,"[..], &[0xff; 100_000], b""] {
            fs::write(dir.path().join(FILE), damage).unwrap();
            assert_eq!(StartCounts::read(dir.path()), StartCounts::default());
            let restored = report(StartPath::Restored, ReasonLabel::Match);
            StartCounts::count(dir.path(), &restored).await.unwrap();
            assert_eq!(StartCounts::read(dir.path()).restored, 1);
        }
    }
}

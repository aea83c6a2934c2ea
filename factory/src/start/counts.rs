//! How the VMs of a node were started: counted by all shims together, in one small file.
//!
//! `starts.json` in the run root is replaced as a whole under a lock, so its readers need none, and
//! it stays small: reasons are counted by their label, and only the last few boots are kept in
//! words. The run root ends with the machine's uptime, and so does the count.

use std::{
    collections::BTreeMap,
    fs::{self, File, OpenOptions},
    io::{self, Read, Write},
    os::unix::fs::OpenOptionsExt,
    path::{Path, PathBuf},
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use nix::fcntl::OFlag;
use serde::{Deserialize, Serialize};

use crate::{
    start::{StartPath, StartRecord},
    store::blocking,
};

const FILE: &str = "starts.json";
const LOCK: &str = "starts.lock";
/// No file is longer; a longer one is begun anew.
const MAX_LENGTH: u64 = 64 * 1024;
/// Boots that are kept in words.
const LAST_BOOTS: usize = 16;
/// Of a reason, this many characters are kept.
const MAX_REASON: usize = 500;
/// How long a start waits for its turn to be counted; others hold it for less than a millisecond.
const TURN: Duration = Duration::from_secs(2);

/// How many VMs were started, in which way, and why.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct StartTally {
    /// When the first one was counted, in seconds since the epoch.
    pub since: u64,
    /// VMs that were restored.
    pub restored: u64,
    /// VMs that were booted, by [`StartRecord::reason_label`].
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
    /// The VM's id.
    pub id: String,
    /// Why.
    pub reason: String,
}

impl StartTally {
    /// What was counted so far in `run_root`. A file that is not there, or is no tally, counts as
    /// nothing.
    pub fn read(run_root: &Path) -> Self {
        let read = open(&run_root.join(FILE), false).and_then(|file| {
            let mut text = Vec::new();
            file.take(MAX_LENGTH).read_to_end(&mut text)?;
            Ok(serde_json::from_slice(&text)?)
        });
        read.unwrap_or_default()
    }

    /// Counts the start of the VM `id`.
    ///
    /// # Errors
    ///
    /// It was not counted; nobody depends on it.
    pub async fn count(run_root: &Path, id: &str, record: &StartRecord) -> io::Result<()> {
        let lock_path = run_root.join(LOCK);
        let (root, id, record) = (run_root.to_owned(), id.to_owned(), record.clone());
        let counted = blocking(move || {
            // The lock ends with the descriptor.
            let turn = open(&lock_path, true)?;
            turn.lock()?;
            add(&root, &id, &record)
        });
        match tokio::time::timeout(TURN, counted).await {
            Ok(done) => done,
            Err(_) => Err(io::Error::new(
                io::ErrorKind::TimedOut,
                format!(
                    "waited {TURN:?} for the lock {}",
                    run_root.join(LOCK).display()
                ),
            )),
        }
    }
}

fn add(run_root: &Path, id: &str, record: &StartRecord) -> io::Result<()> {
    let mut tally = StartTally::read(run_root);
    let now = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap_or_default()
        .as_secs();
    if tally.since == 0 {
        tally.since = now;
    }
    match record.path {
        StartPath::Restored => tally.restored += 1,
        StartPath::Booted => {
            *tally
                .booted
                .entry(record.reason_label.to_owned())
                .or_default() += 1;
        }
    }
    if record.is_fallback() {
        let reason: String = record.reason.chars().take(MAX_REASON).collect();
        tally.last_boots.push(CountedBoot {
            at: now,
            id: id.to_owned(),
            reason,
        });
        let surplus = tally.last_boots.len().saturating_sub(LAST_BOOTS);
        tally.last_boots.drain(..surplus);
    }
    let aside: PathBuf = run_root.join(format!(".{FILE}.new"));
    let mut file = open(&aside, true)?;
    file.set_len(0)?;
    file.write_all(&serde_json::to_vec(&tally)?)?;
    drop(file);
    fs::rename(&aside, run_root.join(FILE))
}

fn open(path: &Path, write: bool) -> io::Result<File> {
    OpenOptions::new()
        .read(true)
        .write(write)
        .create(write)
        .mode(0o600)
        .custom_flags((OFlag::O_NOFOLLOW | OFlag::O_NONBLOCK).bits())
        .open(path)
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::identity::Shape;

    fn record(path: StartPath, reason_label: &'static str) -> StartRecord {
        StartRecord {
            path,
            template_key: None,
            shape: Shape {
                memory_mib: 1,
                vcpus: 1,
                max_memory_mib: 1,
                max_vcpus: 1,
            },
            reason: format!("because {reason_label}"),
            reason_label,
            phases: Vec::new(),
            proof: String::new(),
        }
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn starts_of_many_shims_at_once_are_all_counted() {
        let dir = Arc::new(tempfile::tempdir().unwrap());
        let kinds = [
            record(StartPath::Restored, "fits"),
            record(StartPath::Booted, "absent"),
            record(StartPath::Booted, "disabled"),
        ];
        let tasks: Vec<_> = (0..60)
            .map(|n: usize| {
                let (dir, record) = (dir.clone(), kinds[n % 3].clone());
                tokio::spawn(async move {
                    let id = format!("pod-{n}");
                    StartTally::count(dir.path(), &id, &record).await.unwrap();
                })
            })
            .collect();
        for task in tasks {
            task.await.unwrap();
        }
        let tally = StartTally::read(dir.path());
        assert_eq!(tally.restored, 20);
        assert_eq!(tally.booted["absent"], 20);
        assert_eq!(tally.booted["disabled"], 20);
        // Only boots that templates could have spared, and not all of them.
        assert_eq!(tally.last_boots.len(), LAST_BOOTS);
        assert!(
            tally
                .last_boots
                .iter()
                .all(|boot| boot.reason == "because absent")
        );
    }

    #[tokio::test]
    async fn a_damaged_tally_is_begun_anew() {
        let dir = tempfile::tempdir().unwrap();
        for damage in [&b"{\"since\":1,"[..], &[0xff; 100_000], b""] {
            fs::write(dir.path().join(FILE), damage).unwrap();
            assert_eq!(StartTally::read(dir.path()), StartTally::default());
            let restored = record(StartPath::Restored, "fits");
            StartTally::count(dir.path(), "a", &restored).await.unwrap();
            assert_eq!(StartTally::read(dir.path()).restored, 1);
        }
    }
}

//! A probe's result, cached for the next process: valid for one binary during one boot of the host.

use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use slog::warn;

use super::{binary::Facts, kvm::Verdict};
use crate::probe_cache::{Key, read, replace};

/// A file, or none, and what it holds for one binary.
#[derive(Debug)]
pub struct Cache {
    path: Option<PathBuf>,
    entry: Entry,
    log: slog::Logger,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct Entry {
    key: Key,
    facts: Option<Facts>,
    kvm: Option<Tried>,
}

/// A verdict, and the machine it was found with.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct Tried {
    machine: String,
    verdict: Verdict,
}

impl Cache {
    /// Reads the file. One that is missing, damaged or made for something else counts as empty.
    pub fn open(path: Option<&Path>, binary: &Path, log: &slog::Logger) -> Self {
        let key = Key::new(binary);
        let known = path.filter(|_| key.is_some()).and_then(read::<Entry>);
        let path = path.filter(|_| key.is_some()).map(Path::to_owned);
        let key = key.unwrap_or_default();
        let entry = known.filter(|entry| entry.key == key).unwrap_or(Entry {
            key,
            facts: None,
            kvm: None,
        });
        Self {
            path,
            entry,
            log: log.clone(),
        }
    }

    /// What the binary was found to have.
    pub fn facts(&self) -> Option<Facts> {
        self.entry.facts.clone()
    }

    /// Whether a guest was seen to run under KVM on `machine`.
    pub fn kvm(&self, machine: &str) -> Option<Verdict> {
        let tried = self
            .entry
            .kvm
            .as_ref()
            .filter(|tried| tried.machine == machine)?;
        Some(tried.verdict.clone())
    }

    /// Caches what the binary has.
    pub fn store_facts(&mut self, facts: &Facts) {
        self.entry.facts = Some(facts.clone());
        self.write();
    }

    /// Caches whether a guest runs under KVM on `machine`.
    pub fn store_kvm(&mut self, machine: &str, verdict: &Verdict) {
        let (machine, verdict) = (machine.to_owned(), verdict.clone());
        self.entry.kvm = Some(Tried { machine, verdict });
        self.write();
    }

    fn write(&self) {
        let Some(path) = &self.path else { return };
        if let Err(error) = replace(path, &self.entry) {
            warn!(self.log, "cannot cache the probe's result; the next start probes again";
                "path" => %path.display(), "error" => %error);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::{fs, os::unix::fs::MetadataExt};

    use super::*;

    fn open(path: &Path, binary: &Path) -> Cache {
        Cache::open(
            Some(path),
            binary,
            &slog::Logger::root(slog::Discard, slog::o!()),
        )
    }

    #[test]
    fn a_result_is_found_again_until_the_binary_changes() {
        let dir = tempfile::tempdir().unwrap();
        let (binary, path) = (dir.path().join("qemu"), dir.path().join("probe/qemu.json"));
        fs::write(&binary, "one").unwrap();
        let verdict = Verdict {
            works: true,
            reason: "seen".into(),
        };
        open(&path, &binary).store_kvm("q35", &verdict);
        assert_eq!(open(&path, &binary).kvm("q35"), Some(verdict));
        assert_eq!(open(&path, &binary).kvm("pc"), None);
        assert_eq!(open(&path, &binary).facts(), None);
        assert_eq!(fs::metadata(&path).unwrap().mode() & 0o777, 0o600);
        assert_eq!(fs::read_dir(path.parent().unwrap()).unwrap().count(), 1);
        fs::write(&binary, "longer").unwrap();
        assert_eq!(open(&path, &binary).kvm("q35"), None);
    }

    #[test]
    fn a_damaged_file_counts_as_none() {
        let dir = tempfile::tempdir().unwrap();
        let (binary, path) = (dir.path().join("qemu"), dir.path().join("qemu.json"));
        fs::write(&binary, "one").unwrap();
        for damage in [&b""[..], b"{\"key\":", b"[]", &[b' '; 100_000]] {
            fs::write(&path, damage).unwrap();
            assert_eq!(open(&path, &binary).kvm("q35"), None);
        }
    }
}

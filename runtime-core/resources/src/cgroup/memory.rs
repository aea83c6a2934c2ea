//! Whether the host's OOM killer has killed a process of a cgroup, and the cgroup's limit and
//! usage.
//!
//! The kernel counts a kill before it sends the signal, in the cgroup of the process, whichever
//! limit above it was exceeded. So when a VMM is seen to have ended, its kill is counted already.

use std::{
    fmt, fs,
    path::{Path, PathBuf},
    sync::atomic::{AtomicU64, Ordering},
};

/// Version 1's value for no limit: the largest number of pages, in bytes.
const NONE_V1: u64 = i64::MAX as u64 / 4096 * 4096;

/// Names of the files that are read.
struct Files {
    /// Has a line "oom_kill COUNT".
    events: &'static str,
    limit: &'static str,
    /// The highest usage so far; then the present usage, for kernels without the first.
    used: [&'static str; 2],
}

const V1: Files = Files {
    events: "memory.oom_control",
    limit: "memory.limit_in_bytes",
    used: ["memory.max_usage_in_bytes", "memory.usage_in_bytes"],
};

const V2: Files = Files {
    events: "memory.events",
    limit: "memory.max",
    used: ["memory.peak", "memory.current"],
};

/// The memory of a cgroup.
pub struct Memory {
    /// Directory of the cgroup, then those above it without the hierarchy's root.
    directories: Vec<PathBuf>,
    files: Files,
    /// Number of kills that were not of the VMM.
    known: AtomicU64,
}

/// The host's OOM killer ended a process of a pod.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OutOfMemory {
    /// The tightest limit of the pod, if it has one.
    limit: Option<Limit>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
struct Limit {
    cgroup: PathBuf,
    bytes: u64,
    used: Option<u64>,
}

impl Memory {
    /// The memory of the cgroup at `directory`, `depth` levels below its hierarchy's root.
    pub fn new(directory: &Path, depth: usize, v2: bool) -> Self {
        let above = directory.ancestors().take(depth);
        Self {
            directories: above.map(Path::to_owned).collect(),
            files: if v2 { V2 } else { V1 },
            known: AtomicU64::new(0),
        }
    }

    /// Ignores all kills so far.
    pub fn forget_kills(&self) {
        self.known.store(self.kills(), Ordering::Relaxed);
    }

    /// Ignores one of the kills so far, if there is one that is not ignored yet.
    pub fn forget_kill(&self) {
        let kills = self.kills();
        let one_more = |known| (known < kills).then_some(known + 1);
        // Without a new kill nothing changes.
        let _ = self
            .known
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, one_more);
    }

    /// Returns the pod's limit and usage if there was a kill that is not ignored.
    pub fn killed(&self) -> Option<OutOfMemory> {
        let new = self.kills() > self.known.load(Ordering::Relaxed);
        new.then(|| OutOfMemory {
            limit: self.limit(),
        })
    }

    /// The number of kills; 0 on a kernel that does not count them (before 4.13), and on a host
    /// without this controller.
    fn kills(&self) -> u64 {
        let own = self.directories.first();
        let events = own.and_then(|own| fs::read_to_string(own.join(self.files.events)).ok());
        events.as_deref().and_then(kills_of).unwrap_or_default()
    }

    fn limit(&self) -> Option<Limit> {
        let limits = self.directories.iter().filter_map(|cgroup| {
            let text = fs::read_to_string(cgroup.join(self.files.limit)).ok()?;
            Some((cgroup, limit_of(&text)?))
        });
        let (cgroup, bytes) = limits.min_by_key(|(_, bytes)| *bytes)?;
        let number = |file: &&str| {
            let text = fs::read_to_string(cgroup.join(file)).ok()?;
            text.trim().parse().ok()
        };
        Some(Limit {
            cgroup: cgroup.clone(),
            bytes,
            used: self.files.used.iter().find_map(number),
        })
    }
}

/// The count of kills in `memory.events` or `memory.oom_control`.
fn kills_of(events: &str) -> Option<u64> {
    let count = |line: &str| line.strip_prefix("oom_kill ")?.trim().parse().ok();
    events.lines().find_map(count)
}

/// A limit in bytes, if there is one.
fn limit_of(text: &str) -> Option<u64> {
    // Version 2's value for no limit is "max".
    let bytes = text.trim().parse().ok()?;
    (bytes < NONE_V1).then_some(bytes)
}

impl fmt::Display for OutOfMemory {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Some(limit) = &self.limit else {
            return f.write_str("the node has no memory left, and the pod has no limit");
        };
        let mib = |bytes: u64| bytes.div_ceil(1 << 20);
        write!(f, "the pod may use {} MiB", mib(limit.bytes))?;
        if let Some(used) = limit.used {
            write!(f, ", and has used {} MiB", mib(used))?;
        }
        write!(f, " (cgroup {})", limit.cgroup.display())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn kills_are_read_in_both_versions() {
        let v1 = "oom_kill_disable 0\nunder_oom 0\noom_kill 3\n";
        let v2 = "low 0\nhigh 0\nmax 41\noom 2\noom_kill 1\noom_group_kill 5\n";
        assert_eq!(kills_of(v1), Some(3));
        assert_eq!(kills_of(v2), Some(1));
        for text in [
            "",
            "oom_kill_disable 0\nunder_oom 0\n",
            "oom_kill x",
            "oom_kill -1",
        ] {
            assert_eq!(kills_of(text), None, "{text}");
        }
    }

    #[test]
    fn limits_are_read_in_both_versions() {
        assert_eq!(limit_of("67108864\n"), Some(64 << 20));
        for text in [
            "max\n",
            "9223372036854771712\n",
            "18446744073709551615",
            "",
            "-1",
        ] {
            assert_eq!(limit_of(text), None, "{text}");
        }
    }

    fn write(path: &Path, files: &[(&str, &str)]) {
        for (name, text) in files {
            fs::write(path.join(name), text).unwrap();
        }
    }

    /// `pod` has a limit of 64 MiB, `pod/own` none, as kubelet makes them.
    fn groups(files: &Files, unlimited: &str, used: &str) -> (tempfile::TempDir, PathBuf) {
        let root = tempfile::tempdir().unwrap();
        let pod = root.path().join("pod");
        let own = pod.join("own");
        fs::create_dir_all(&own).unwrap();
        write(root.path(), &[(files.limit, "1\n")]);
        write(&pod, &[(files.limit, "67108864\n"), (used, "67000000\n")]);
        write(
            &own,
            &[(files.limit, unlimited), (files.events, "oom_kill 1\n")],
        );
        (root, own)
    }

    #[test]
    fn a_kill_is_reported_with_the_limit_and_the_usage() {
        for (v2, files, unlimited, used) in [
            (false, V1, "9223372036854771712\n", V1.used[0]),
            (true, V2, "max\n", V2.used[0]),
            (true, V2, "max\n", V2.used[1]),
        ] {
            let (root, own) = groups(&files, unlimited, used);
            let memory = Memory::new(&own, 2, v2);
            let text = memory.killed().unwrap().to_string();
            let pod = root.path().join("pod");
            assert_eq!(
                text,
                format!(
                    "the pod may use 64 MiB, and has used 64 MiB (cgroup {})",
                    pod.display()
                )
            );
            memory.forget_kills();
            assert_eq!(memory.killed(), None);
            fs::write(own.join(files.events), "oom_kill 2\n").unwrap();
            assert!(memory.killed().is_some());
        }
    }

    #[test]
    fn one_kill_is_forgotten_at_a_time() {
        let (_root, own) = groups(&V2, "max\n", "memory.peak");
        let memory = Memory::new(&own, 2, true);
        memory.forget_kill();
        assert_eq!(memory.killed(), None);
        // One that never was does not make up for the next.
        memory.forget_kill();
        fs::write(own.join(V2.events), "oom_kill 3\n").unwrap();
        memory.forget_kill();
        assert!(memory.killed().is_some(), "of two, one was another's");
        memory.forget_kill();
        assert_eq!(memory.killed(), None);
    }

    #[test]
    fn a_node_without_memory_is_named() {
        let (_root, own) = groups(&V2, "max\n", "memory.peak");
        let text = Memory::new(&own, 1, true).killed().unwrap().to_string();
        assert!(text.starts_with("the node has no memory left"), "{text}");
    }

    #[test]
    fn without_a_counter_nothing_is_a_kill() {
        let root = tempfile::tempdir().unwrap();
        assert_eq!(Memory::new(root.path(), 1, true).killed(), None);
        assert_eq!(
            Memory::new(&root.path().join("gone"), 1, false).killed(),
            None
        );
    }
}

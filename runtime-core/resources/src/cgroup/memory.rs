//! Whether the host's OOM killer was in a cgroup, and what the cgroup may use and has used.
//!
//! The kernel counts the kills before it sends the signals, in the cgroup of the process, whichever
//! limit above it was met: when a monitor is seen to be gone, its kill is counted already.

use std::{
    fmt, fs,
    path::{Path, PathBuf},
    sync::atomic::{AtomicU64, Ordering},
};

/// What version 1 says where there is no limit: the largest number of pages, in bytes.
const NONE_V1: u64 = i64::MAX as u64 / 4096 * 4096;

/// The names of what is read.
struct Files {
    /// Has a line "oom_kill COUNT".
    events: &'static str,
    limit: &'static str,
    /// The most that was ever used, and where the kernel does not tell it, what is used now.
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
    /// Its directory, and those above it that are not the hierarchy's root.
    directories: Vec<PathBuf>,
    files: Files,
    /// Kills that were no monitor's.
    known: AtomicU64,
}

/// The host's OOM killer ended a process of a pod.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OutOfMemory {
    /// The tightest limit that holds for the pod.
    limit: Option<Limit>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
struct Limit {
    cgroup: PathBuf,
    bytes: u64,
    used: Option<u64>,
}

impl Memory {
    /// Of the cgroup in `directory`, which is `depth` steps below its hierarchy's root.
    pub fn of(directory: &Path, depth: usize, v2: bool) -> Self {
        let above = directory.ancestors().take(depth);
        Self {
            directories: above.map(Path::to_owned).collect(),
            files: if v2 { V2 } else { V1 },
            known: AtomicU64::new(0),
        }
    }

    /// Takes all kills so far for those of others.
    pub fn forget_kills(&self) {
        self.known.store(self.kills(), Ordering::Relaxed);
    }

    /// Takes one of the kills so far for another's, if there is one that is not known.
    pub fn forget_kill(&self) {
        let kills = self.kills();
        let one_more = |known| (known < kills).then_some(known + 1);
        // Without a kill there is nothing to forget.
        let _ = self
            .known
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, one_more);
    }

    /// Whether there was a kill that is not known.
    pub fn killed(&self) -> Option<OutOfMemory> {
        let new = self.kills() > self.known.load(Ordering::Relaxed);
        new.then(|| OutOfMemory {
            limit: self.limit(),
        })
    }

    /// A kernel that counts none (before 4.13), and a host without this controller, have none.
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
    // Version 2 says "max".
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
    fn a_kill_is_told_with_the_limit_and_what_was_used() {
        for (v2, files, unlimited, used) in [
            (false, V1, "9223372036854771712\n", V1.used[0]),
            (true, V2, "max\n", V2.used[0]),
            (true, V2, "max\n", V2.used[1]),
        ] {
            let (root, own) = groups(&files, unlimited, used);
            let memory = Memory::of(&own, 2, v2);
            let told = memory.killed().unwrap().to_string();
            let pod = root.path().join("pod");
            assert_eq!(
                told,
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
        let memory = Memory::of(&own, 2, true);
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
    fn a_node_without_memory_is_told() {
        let (_root, own) = groups(&V2, "max\n", "memory.peak");
        let told = Memory::of(&own, 1, true).killed().unwrap().to_string();
        assert!(told.starts_with("the node has no memory left"), "{told}");
    }

    #[test]
    fn without_a_counter_nothing_is_a_kill() {
        let root = tempfile::tempdir().unwrap();
        assert_eq!(Memory::of(root.path(), 1, true).killed(), None);
        assert_eq!(
            Memory::of(&root.path().join("gone"), 1, false).killed(),
            None
        );
    }
}

//! What is on the machine before and after, and what the difference says was left behind.

mod changes;
mod gather;

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt,
    path::{Path, PathBuf},
    time::Duration,
};

use self::changes::Changes;
use crate::{Error, Result, proc::Process, wait::Deadline};

/// Kinds of things that a pod may leave behind.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Kind {
    /// A process that still runs.
    Process,
    /// A mount in this mount namespace.
    Mount,
    /// A network interface of this network namespace.
    Link,
    /// A named network namespace.
    NetworkNamespace,
    /// A cgroup, in any hierarchy.
    Cgroup,
    /// A loop device with a file behind it.
    LoopDevice,
    /// A unix socket that a process has bound.
    Socket,
    /// A file or a directory of the run-time state.
    File,
}

/// Whose processes, mounts, files and interfaces count.
#[derive(Debug, Clone)]
pub struct Scope {
    /// The directory of the playground.
    pub directory: PathBuf,
    /// What the names of the playground's containers begin with.
    pub prefix: String,
    /// Whether things that bear neither mark are left out. Right where others work on the same
    /// machine at the same time, and blind to what was put in an unforeseen place.
    pub only_ours: bool,
}

impl Scope {
    /// The scope of a playground; `IMPRINT_SHARED_HOST=1` says that others use this machine too.
    #[must_use]
    pub fn of(directory: &Path, prefix: &str) -> Self {
        Self {
            directory: directory.to_owned(),
            prefix: prefix.to_owned(),
            only_ours: std::env::var("IMPRINT_SHARED_HOST").is_ok_and(|value| value == "1"),
        }
    }
}

/// All that could be a leak, at one moment.
#[derive(Debug, Clone)]
pub struct Snapshot {
    scope: Scope,
    things: BTreeMap<Kind, BTreeSet<String>>,
    processes: Vec<Process>,
}

impl Snapshot {
    /// Looks at the machine now.
    pub fn take(scope: &Scope) -> Result<Self> {
        let processes = gather::processes(scope);
        let mut things = gather::things(scope)?;
        let names = processes.iter().map(|p| format!("{} {}", p.pid, p.command));
        things.insert(Kind::Process, names.collect());
        Ok(Self {
            scope: scope.clone(),
            things,
            processes,
        })
    }

    /// What is there now and was not then. What is on its way out is waited for.
    pub fn left_since(&self, patience: Duration) -> Result<Leaks> {
        let deadline = Deadline::after(patience);
        let changes = Changes::watch(&self.scope.directory)?;
        loop {
            let now = Self::take(&self.scope)?;
            let leaks = self.compare(&now);
            if leaks.is_empty() {
                return Ok(leaks);
            }
            let fresh = now
                .processes
                .iter()
                .filter(|process| !self.processes.contains(process));
            match changes.next(fresh, deadline) {
                Ok(()) => {}
                Err(Error::Timeout { .. }) => return Ok(leaks),
                Err(error) => return Err(error),
            }
        }
    }

    fn compare(&self, now: &Self) -> Leaks {
        let left = now.things.iter().flat_map(|(kind, things)| {
            let before = self.things.get(kind);
            let fresh = things
                .iter()
                .filter(move |name| before.is_none_or(|b| !b.contains(*name)));
            fresh.map(|name| (*kind, name.clone()))
        });
        Leaks::new(left.collect())
    }
}

/// What was left behind.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Leaks(Vec<(Kind, String)>);

impl Leaks {
    /// Leaves out what lies below something that was left behind itself.
    fn new(mut left: Vec<(Kind, String)>) -> Self {
        let parents = left.clone();
        left.retain(|(kind, name)| {
            let below = |(other, parent): &(Kind, String)| {
                let rest = name.strip_prefix(parent.as_str()).filter(|_| kind == other);
                rest.is_some_and(|rest| rest.starts_with('/'))
            };
            !parents.iter().any(below)
        });
        Self(left)
    }

    /// Whether nothing was left behind.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

impl fmt::Display for Leaks {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.0.is_empty() {
            return f.write_str("nothing was left behind");
        }
        f.write_str("left behind:")?;
        for (kind, name) in &self.0 {
            write!(f, "\n  + {kind:?}: {name}")?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::{Scope, Snapshot};
    use crate::{proc::MARK, program::Program};

    #[test]
    fn a_process_and_a_file_that_stay_are_told_and_nothing_else() {
        let directory = tempfile::tempdir().unwrap();
        std::fs::create_dir(directory.path().join("run")).unwrap();
        let mut scope = Scope::of(directory.path(), "imprint-leak-test");
        scope.only_ours = true;
        let before = Snapshot::take(&scope).unwrap();
        let clean = before.left_since(Duration::ZERO).unwrap();
        assert!(clean.is_empty(), "{clean}");

        std::fs::write(directory.path().join("run/forgotten"), "").unwrap();
        let sleeper = Program::new("sh")
            .args(["-c", "echo up; read -r line"])
            .open_input()
            .env(MARK, directory.path());
        let mut sleeper = sleeper.start().unwrap();
        // A program has its name and environment a moment after its process exists.
        sleeper.read_until("up").unwrap();
        let leaks = before
            .left_since(Duration::from_millis(10))
            .unwrap()
            .to_string();
        assert!(
            leaks.contains("Process: ") && leaks.contains("sh -c echo up"),
            "{leaks}"
        );
        assert!(
            leaks.contains("File: ") && leaks.contains("run/forgotten"),
            "{leaks}"
        );
        assert_eq!(leaks.lines().count(), 3, "{leaks}");

        drop(sleeper);
        std::fs::remove_file(directory.path().join("run/forgotten")).unwrap();
        assert!(
            before
                .left_since(Duration::from_secs(5))
                .unwrap()
                .is_empty()
        );
    }
}

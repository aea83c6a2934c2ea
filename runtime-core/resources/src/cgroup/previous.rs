//! The cgroups in which this process was before it entered its pod's, and to which it returns.

use std::{
    fs::{self, OpenOptions},
    io::Write,
    path::{Path, PathBuf},
};

use cgroups_rs::fs::Hierarchy;

use super::CgroupError;

const SELF: &str = "/proc/self/cgroup";
const MEMBERS: &str = "cgroup.procs";

/// The cgroup of this process in each hierarchy.
#[derive(Debug)]
pub struct PreviousCgroups(Vec<Membership>);

/// The cgroup in one hierarchy.
#[derive(Debug)]
struct Membership {
    root: PathBuf,
    directory: PathBuf,
}

impl PreviousCgroups {
    /// Reads in which cgroup this process is in each of these hierarchies.
    pub fn read(hierarchy: &dyn Hierarchy) -> Result<Self, CgroupError> {
        let table = fs::read_to_string(SELF).map_err(|source| CgroupError::Io {
            action: "Reading",
            path: SELF.into(),
            source,
        })?;
        let mut memberships: Vec<Membership> = Vec::new();
        for subsystem in hierarchy.subsystems() {
            // No cgroup was entered yet, so this is where the hierarchy is mounted.
            let root = subsystem.to_controller().path().to_path_buf();
            if memberships.iter().any(|known| known.root == root) {
                continue;
            }
            let name = subsystem.controller_name();
            let path = if hierarchy.v2() {
                find(&table, |names| names.is_empty())
            } else {
                find(&table, |names| {
                    names.split(',').any(|one| is_called(one, &name))
                })
            };
            let path = path.unwrap_or("/").trim_start_matches('/');
            memberships.push(Membership {
                directory: root.join(path),
                root,
            });
        }
        Ok(Self(memberships))
    }

    /// Moves this process there, in one hierarchy. Errors are ignored.
    pub fn enter_one(&self) {
        if let Some(first) = self.0.first() {
            let _ = join(&first.directory);
        }
    }

    /// Moves this process there. If that cgroup is gone, to the nearest one above it that accepts
    /// it.
    pub fn enter(&self) -> Result<(), CgroupError> {
        self.0.iter().try_for_each(Membership::enter)
    }
}

impl Membership {
    fn enter(&self) -> Result<(), CgroupError> {
        let inside = self
            .directory
            .ancestors()
            .take_while(|above| above.starts_with(&self.root));
        let mut result = Ok(());
        for directory in inside {
            result = join(directory);
            if result.is_ok() {
                break;
            }
        }
        result
    }
}

fn join(directory: &Path) -> Result<(), CgroupError> {
    let path = directory.join(MEMBERS);
    let own = std::process::id().to_string();
    // The file is not created: if it is missing, this is not a cgroup.
    let written = OpenOptions::new()
        .write(true)
        .open(&path)
        .and_then(|mut members| members.write_all(own.as_bytes()));
    written.map_err(|source| CgroupError::Io {
        action: "Writing",
        path,
        source,
    })
}

/// Named hierarchies are listed as "name=" and their name.
fn is_called(entry: &str, name: &str) -> bool {
    entry == name || entry.strip_prefix("name=") == Some(name)
}

/// The path in the line (`number:controllers:path`, cgroups(7)) whose controllers match.
fn find(table: &str, matches: impl Fn(&str) -> bool) -> Option<&str> {
    table.lines().find_map(|line| {
        let mut parts = line.splitn(3, ':');
        let (_, names, path) = (parts.next()?, parts.next()?, parts.next()?);
        matches(names).then_some(path)
    })
}

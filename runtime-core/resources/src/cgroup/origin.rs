//! Where this process was before it entered its pod's cgroups: the place it goes back to.

use std::{
    fs::{self, OpenOptions},
    io::Write,
    path::{Path, PathBuf},
};

use cgroups_rs::fs::Hierarchy;

use super::CgroupError;

const SELF: &str = "/proc/self/cgroup";
const MEMBERS: &str = "cgroup.procs";

/// This process's cgroup in each hierarchy.
#[derive(Debug)]
pub struct Origin(Vec<Place>);

#[derive(Debug)]
struct Place {
    root: PathBuf,
    directory: PathBuf,
}

impl Origin {
    /// Looks where this process is in each of these hierarchies.
    pub fn of_self(hierarchy: &dyn Hierarchy) -> Result<Self, CgroupError> {
        let table = fs::read_to_string(SELF).map_err(|source| CgroupError::Io {
            action: "Reading",
            path: SELF.into(),
            source,
        })?;
        let mut places: Vec<Place> = Vec::new();
        for subsystem in hierarchy.subsystems() {
            // Of a subsystem in which nothing was entered yet: where the hierarchy is mounted.
            let root = subsystem.to_controller().path().to_path_buf();
            if places.iter().any(|place| place.root == root) {
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
            places.push(Place {
                directory: root.join(path),
                root,
            });
        }
        Ok(Self(places))
    }

    /// Moves this process there, in one hierarchy.
    pub fn enter_one(&self) {
        if let Some(place) = self.0.first() {
            let _ = join(&place.directory);
        }
    }

    /// Moves this process there. Where that cgroup is gone, to the nearest above it that takes it.
    pub fn enter(&self) -> Result<(), CgroupError> {
        self.0.iter().try_for_each(Place::enter)
    }
}

impl Place {
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
    // Never made: it is there, or this is no cgroup.
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

/// Named hierarchies have their name behind "name=".
fn is_called(entry: &str, name: &str) -> bool {
    entry == name || entry.strip_prefix("name=") == Some(name)
}

/// The path in the line (`number:controllers:path`, cgroups(7)) whose controllers `fit`.
fn find(table: &str, fit: impl Fn(&str) -> bool) -> Option<&str> {
    table.lines().find_map(|line| {
        let mut parts = line.splitn(3, ':');
        let (_, names, path) = (parts.next()?, parts.next()?, parts.next()?);
        fit(names).then_some(path)
    })
}

//! Removes cgroups, and kills the processes that are still in them.

use std::{
    fs, io,
    os::fd::OwnedFd,
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

use system::{process, time::pause_blocking};

use super::CgroupError;

/// How long it may take until all that is in the cgroups has ended.
const TIMEOUT: Duration = Duration::from_secs(5);
/// How often a cgroup without members is tried again meanwhile.
const ATTEMPT: Duration = Duration::from_millis(2);
const MEMBERS: &str = "cgroup.procs";

/// Removes these directories, which are listed parents first, and kills the processes in the
/// innermost ones. A directory that is gone is no error, nor is one with another cgroup in it.
/// Returns what failed.
pub fn remove_all(directories: &[PathBuf]) -> Vec<CgroupError> {
    // One for all: the same processes are in each hierarchy.
    let end = Instant::now() + TIMEOUT;
    let mut failed = Vec::new();
    for directory in directories.iter().rev() {
        let below = |other: &PathBuf| other != directory && other.starts_with(directory);
        if directories.iter().any(below) {
            // Fails, as it should, if there is another cgroup in it.
            let _ = fs::remove_dir(directory);
        } else if let Err(error) = remove(directory, end) {
            failed.push(error);
        }
    }
    failed
}

fn remove(directory: &Path, end: Instant) -> Result<(), CgroupError> {
    while let Some(busy) = refusal(directory)? {
        let members = members(directory);
        let killed: Vec<(u32, OwnedFd)> = members
            .iter()
            .filter_map(|pid| Some((*pid, kill(directory, *pid)?)))
            .collect();
        if killed.is_empty() {
            if has_another_in_it(directory) {
                return Ok(());
            }
            // Threads that are ending are not listed and cannot be moved any more.
            pause_blocking("cgroup v1 does not report that a cgroup is empty", ATTEMPT);
        }
        let left: Vec<u32> = killed
            .into_iter()
            .filter(|(_, process)| !process::ends_by(process, end).unwrap_or_default())
            .map(|(pid, _)| pid)
            .collect();
        if !left.is_empty() {
            return Err(CgroupError::Busy {
                path: directory.to_owned(),
                seconds: TIMEOUT.as_secs(),
                pids: left,
            });
        }
        if Instant::now() >= end {
            return Err(failed(directory, busy));
        }
    }
    Ok(())
}

/// Removes the directory. `None` if it is gone; the kernel's answer if something is in it.
fn refusal(directory: &Path) -> Result<Option<io::Error>, CgroupError> {
    match fs::remove_dir(directory) {
        Ok(()) => Ok(None),
        Err(error) => match error.kind() {
            io::ErrorKind::NotFound => Ok(None),
            io::ErrorKind::ResourceBusy => Ok(Some(error)),
            _ => Err(failed(directory, error)),
        },
    }
}

fn has_another_in_it(directory: &Path) -> bool {
    let entries = fs::read_dir(directory).into_iter().flatten().flatten();
    entries
        .filter_map(|entry| entry.file_type().ok())
        .any(|kind| kind.is_dir())
}

fn failed(directory: &Path, source: io::Error) -> CgroupError {
    CgroupError::Io {
        action: "Removing cgroup",
        path: directory.to_owned(),
        source,
    }
}

/// Pids of the processes in the cgroup, without this one.
fn members(directory: &Path) -> Vec<u32> {
    let list = fs::read_to_string(directory.join(MEMBERS)).unwrap_or_default();
    let pids = list.lines().filter_map(|line| line.parse().ok());
    pids.filter(|pid| *pid != std::process::id()).collect()
}

/// Kills a member. That it is one is checked again after its pidfd was opened, so another process
/// that got its number meanwhile is spared.
fn kill(directory: &Path, pid: u32) -> Option<OwnedFd> {
    let process = process::hold_here(pid).ok()??;
    if !members(directory).contains(&pid) {
        return None;
    }
    process::kill(&process).ok()?.then_some(process)
}

//! The end of a cgroup, and of whatever is still in it.

use std::{
    fs, io,
    os::fd::OwnedFd,
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

use system::process;

use super::CgroupError;

/// How long killed processes may take to end.
const DEADLINE: Duration = Duration::from_secs(5);
/// A process that is being started while others are killed is found in the next round.
const ROUNDS: usize = 8;
const MEMBERS: &str = "cgroup.procs";

/// Removes these directories, parents first in the list, and kills what is in those at the ends.
/// One that is gone is no error, nor is a parent in which there is something else. Tells what could
/// not be done.
pub fn remove_all(directories: &[PathBuf]) -> Vec<CgroupError> {
    let mut failed = Vec::new();
    for directory in directories.iter().rev() {
        let below = |other: &PathBuf| other != directory && other.starts_with(directory);
        if directories.iter().any(below) {
            // Fails, as it should, while there is another in it.
            let _ = fs::remove_dir(directory);
        } else if let Err(error) = remove(directory) {
            failed.push(error);
        }
    }
    failed
}

fn remove(directory: &Path) -> Result<(), CgroupError> {
    let end = Instant::now() + DEADLINE;
    for _ in 0..ROUNDS {
        match fs::remove_dir(directory) {
            Ok(()) => return Ok(()),
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
            Err(error) if error.kind() != io::ErrorKind::ResourceBusy => {
                return Err(failed(directory, error));
            }
            Err(_) => {}
        }
        let members = members(directory);
        let killed: Vec<(u32, OwnedFd)> = members
            .iter()
            .filter_map(|pid| Some((*pid, kill(directory, *pid)?)))
            .collect();
        if killed.is_empty() {
            break;
        }
        let left: Vec<u32> = killed
            .into_iter()
            .filter(|(_, process)| !process::ends_by(process, end).unwrap_or_default())
            .map(|(pid, _)| pid)
            .collect();
        if !left.is_empty() {
            return Err(CgroupError::Busy {
                path: directory.to_owned(),
                seconds: DEADLINE.as_secs(),
                pids: left,
            });
        }
    }
    match fs::remove_dir(directory) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(failed(directory, error)),
        _ => Ok(()),
    }
}

fn failed(directory: &Path, source: io::Error) -> CgroupError {
    CgroupError::Io {
        action: "Removing cgroup",
        path: directory.to_owned(),
        source,
    }
}

/// Processes in the cgroup, but for this one.
fn members(directory: &Path) -> Vec<u32> {
    let list = fs::read_to_string(directory.join(MEMBERS)).unwrap_or_default();
    let pids = list.lines().filter_map(|line| line.parse().ok());
    pids.filter(|pid| *pid != std::process::id()).collect()
}

/// Kills a member. It is looked for again when its descriptor is held, so that another process that
/// was given its number meanwhile is spared.
fn kill(directory: &Path, pid: u32) -> Option<OwnedFd> {
    let process = process::hold_here(pid).ok()??;
    if !members(directory).contains(&pid) {
        return None;
    }
    process::kill(&process).ok()?.then_some(process)
}

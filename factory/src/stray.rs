//! The monitor of a template that was never finished, when its maker was killed: found by the one
//! thing only it can have, a mapping of the unfinished memory file.

use std::{io, os::unix::fs::MetadataExt, path::Path, time::Duration};

use nix::sys::stat::{major, minor};
use rustix::{
    event::{PollFd, PollFlags, Timespec, poll},
    io::Errno,
    process::{Pid, PidfdFlags, Signal, pidfd_open, pidfd_send_signal},
};

/// A killed process is gone at once unless it is stuck in the kernel.
const GONE: Duration = Duration::from_secs(10);

/// Kills every process that maps `file`, waits until it is gone, and says how many there were.
/// Blocks.
pub(crate) fn kill_mappers_of(file: &Path) -> io::Result<usize> {
    let meta = match std::fs::metadata(file) {
        Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(0),
        other => other?,
    };
    let (device, inode) = (meta.dev(), meta.ino());
    let column = format!(" {:02x}:{:02x} {inode} ", major(device), minor(device));
    let mut killed = 0;
    for entry in std::fs::read_dir("/proc")?.flatten() {
        let Some(pid) = entry
            .file_name()
            .to_str()
            .and_then(|name| name.parse().ok())
        else {
            continue;
        };
        if pid != std::process::id() && kill_if_mapping(pid, &column)? {
            killed += 1;
        }
    }
    Ok(killed)
}

/// The pidfd is opened before the mappings are read: should the pid be reused in between, the
/// signal goes nowhere.
fn kill_if_mapping(pid: u32, column: &str) -> io::Result<bool> {
    let process = i32::try_from(pid).ok().and_then(Pid::from_raw);
    let Some(Ok(pidfd)) = process.map(|pid| pidfd_open(pid, PidfdFlags::empty())) else {
        return Ok(false);
    };
    // Threads of the kernel and processes of others have no mappings we could read.
    let Ok(maps) = std::fs::read_to_string(format!("/proc/{pid}/maps")) else {
        return Ok(false);
    };
    if !maps.lines().any(|line| line.contains(column)) {
        return Ok(false);
    }
    match pidfd_send_signal(&pidfd, Signal::KILL) {
        Err(Errno::SRCH) => return Ok(false),
        other => other?,
    }
    let deadline = Timespec {
        tv_sec: GONE.as_secs().cast_signed(),
        tv_nsec: 0,
    };
    match poll(&mut [PollFd::new(&pidfd, PollFlags::IN)], Some(&deadline))? {
        0 => Err(io::Error::new(
            io::ErrorKind::TimedOut,
            format!("waited {GONE:?} for killed process {pid} to end"),
        )),
        _ => Ok(true),
    }
}

#[cfg(test)]
mod tests {
    use std::process::{Command, Stdio};

    use super::*;

    #[test]
    fn only_processes_that_map_the_file_are_killed() {
        let dir = tempfile::tempdir().unwrap();
        let copy = dir.path().join("sleep");
        std::fs::copy("/bin/sleep", &copy).unwrap();
        let sleep = |binary: &Path| {
            let mut command = Command::new(binary);
            command.arg("60").stdin(Stdio::null()).spawn().unwrap()
        };
        let (mut mapping, mut other) = (sleep(&copy), sleep(Path::new("/bin/sleep")));

        assert_eq!(kill_mappers_of(&copy).unwrap(), 1);
        assert!(!mapping.wait().unwrap().success());
        assert!(other.try_wait().unwrap().is_none());
        other.kill().unwrap();
        other.wait().unwrap();
        assert_eq!(kill_mappers_of(&dir.path().join("none")).unwrap(), 0);
    }
}

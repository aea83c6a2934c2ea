//! Ends a monitor that its shim left behind: the right process, or none.

use std::{
    fs, io,
    os::fd::OwnedFd,
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

use rustix::{
    event::{PollFd, PollFlags, Timespec, poll},
    process::{Pid, PidfdFlags, Signal, pidfd_open, pidfd_send_signal},
};

use super::ProcessRecord;

/// Beginnings of the names of monitors' binaries, for sandboxes without a readable record.
const MONITORS: [&str; 3] = ["qemu-system-", "qemu-kvm", "cloud-hypervisor"];

impl ProcessRecord {
    /// The calling process; `None` where there is no `/proc`.
    pub fn of_this_process() -> Option<Self> {
        let pid = std::process::id();
        start_time(pid)
            .ok()
            .map(|start_time| Self { pid, start_time })
    }
}

/// When process `pid` started (proc_pid_stat(5), field 22). The second field, the name, may hold
/// anything, so the count starts behind its closing parenthesis.
pub(super) fn start_time(pid: u32) -> io::Result<u64> {
    let stat = fs::read(format!("/proc/{pid}/stat"))?;
    let invalid = || io::Error::from(io::ErrorKind::InvalidData);
    let behind_name = stat
        .iter()
        .rposition(|&byte| byte == b')')
        .ok_or_else(invalid)?
        + 1;
    let rest = std::str::from_utf8(&stat[behind_name..]).map_err(|_| invalid())?;
    let field = rest.split_ascii_whitespace().nth(19).ok_or_else(invalid)?;
    field.parse().map_err(|_| invalid())
}

/// The process of the record, if it still runs: the descriptor names it whatever becomes of its
/// pid.
pub(super) fn open(process: ProcessRecord) -> io::Result<Option<OwnedFd>> {
    let Some(pid) = i32::try_from(process.pid).ok().and_then(Pid::from_raw) else {
        return Ok(None);
    };
    let fd = match pidfd_open(pid, PidfdFlags::empty()) {
        Ok(fd) => fd,
        Err(rustix::io::Errno::SRCH) => return Ok(None),
        Err(error) => return Err(error.into()),
    };
    // Read after the descriptor was opened: if it matches, the descriptor's process is meant.
    match start_time(process.pid) {
        Ok(started) if started == process.start_time => Ok(Some(fd)),
        _ => Ok(None),
    }
}

/// Kills the process and waits for its end, at most until `deadline`. Says whether it ended.
pub(super) fn kill(process: &OwnedFd, deadline: Instant) -> io::Result<bool> {
    match pidfd_send_signal(process, Signal::KILL) {
        Ok(()) | Err(rustix::io::Errno::SRCH) => {}
        Err(error) => return Err(error.into()),
    }
    loop {
        let left = deadline.saturating_duration_since(Instant::now());
        let timeout = timespec(left);
        match poll(&mut [PollFd::new(process, PollFlags::IN)], Some(&timeout)) {
            Ok(0) => return Ok(false),
            Ok(_) => return Ok(true),
            Err(rustix::io::Errno::INTR) => {}
            Err(error) => return Err(error.into()),
        }
    }
}

/// Monitors of the sandbox whose directory is `dir`: processes with a path below it among their
/// arguments that run `binary`, or, if that is not known, a binary with a monitor's name.
pub(super) fn find(dir: &Path, binary: Option<&Path>) -> Vec<ProcessRecord> {
    let Ok(processes) = fs::read_dir("/proc") else {
        return Vec::new();
    };
    let mut below = dir.as_os_str().as_encoded_bytes().to_vec();
    below.push(b'/');
    processes
        .filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok())
        .filter_map(|pid| {
            let start_time = start_time(pid).ok()?;
            let proc = PathBuf::from(format!("/proc/{pid}"));
            if !is_monitor(&fs::read_link(proc.join("exe")).ok()?, binary) {
                return None;
            }
            let arguments = fs::read(proc.join("cmdline")).ok()?;
            let ours = arguments.windows(below.len()).any(|part| part == below);
            ours.then_some(ProcessRecord { pid, start_time })
        })
        .collect()
}

fn is_monitor(runs: &Path, binary: Option<&Path>) -> bool {
    match binary {
        Some(binary) => fs::canonicalize(binary).is_ok_and(|binary| binary == runs),
        None => runs
            .file_name()
            .and_then(|name| name.to_str())
            .is_some_and(|name| MONITORS.iter().any(|monitor| name.starts_with(monitor))),
    }
}

fn timespec(duration: Duration) -> Timespec {
    Timespec {
        tv_sec: duration.as_secs().try_into().unwrap_or(i64::MAX),
        tv_nsec: duration.subsec_nanos().into(),
    }
}

//! Processes by the numbers that `/proc` shows.
//!
//! A process has a number in its own pid namespace and in each above it. System calls use the
//! number in the caller's namespace, `/proc` the one in the namespace in which it was mounted. A
//! process in a container that reads the host's `/proc` finds itself and its children there under
//! other numbers than those that fork and pidfd_open use. Records and messages hold the number in
//! `/proc`, since all processes of a node can read the host's.

use std::{
    fs, io,
    os::fd::{AsFd, AsRawFd, OwnedFd},
    time::Instant,
};

use rustix::{
    event::{PollFd, PollFlags, Timespec, poll},
    io::Errno,
    process::{Pid, PidfdFlags, Signal, pidfd_open, pidfd_send_signal},
};

/// This process's number in the mounted `/proc`.
///
/// # Errors
/// `/proc` is not mounted, or that of a pid namespace in which this process is not.
pub fn own_number() -> io::Result<u32> {
    let link = fs::read_link("/proc/self").map_err(foreign)?;
    let number = link.to_str().and_then(|text| text.parse().ok());
    number.ok_or_else(|| invalid("/proc/self leads to no number"))
}

/// A pidfd of a child of this process.
///
/// # Errors
/// There is none of that number.
pub fn hold_child(pid: u32) -> io::Result<OwnedFd> {
    hold_here(pid)?.ok_or_else(|| io::Error::new(io::ErrorKind::NotFound, "it ended at once"))
}

/// The number in `/proc` of the process that is held. It may have ended, as long as it was not
/// reaped.
///
/// # Errors
/// It is not in `/proc`, or was reaped.
pub fn number_of(process: impl AsFd) -> io::Result<u32> {
    match shown_number(process)? {
        0 => Err(invalid(
            "/proc is of another pid namespace, in which the process does not exist",
        )),
        number => u32::try_from(number)
            .map_err(|_| io::Error::new(io::ErrorKind::NotFound, "the process was reaped")),
    }
}

/// This process's number in `/proc`, or where that cannot be read, the one in its own pid
/// namespace.
pub fn own_number_or_id() -> u32 {
    own_number().unwrap_or_else(|_| std::process::id())
}

/// A pidfd of the process with this number in `/proc`. `None` if there is none.
///
/// # Errors
/// It cannot be held: it is of a pid namespace that this process does not see
/// ([`io::ErrorKind::Unsupported`]).
pub fn hold(number: u32) -> io::Result<Option<OwnedFd>> {
    let Some((here, direct)) = number_here(number)? else {
        return Ok(None);
    };
    let process = hold_here(here)?;
    // What has the number here may be another by now.
    let shown = process.as_ref().map(shown_number).transpose()?;
    if shown == Some(i64::from(number)) {
        return Ok(process);
    }
    // A process of a namespace beside this one has as many numbers, and none of them is known here.
    if !direct && numbers(&number.to_string()).is_ok() {
        return Err(unseen(number));
    }
    Ok(None)
}

/// A pidfd of the process with this number in `/proc`, if it started at `start_time`
/// ([`start_time`]). `None` if that process has ended, even if another has its number now.
///
/// # Errors
/// As [`hold`].
pub fn hold_started(number: u32, start_time: u64) -> io::Result<Option<OwnedFd>> {
    let held = hold(number)?;
    // Read after the process was held: if it matches, the held one is meant.
    let same = self::start_time(number).is_ok_and(|found| found == start_time);
    Ok(held.filter(|_| same))
}

/// Kills a process by its pidfd, so no other process can be hit. Returns whether it existed: true
/// for one that has ended and was not reaped.
///
/// # Errors
/// This process may not kill it.
pub fn kill(process: impl AsFd) -> io::Result<bool> {
    match pidfd_send_signal(process, Signal::KILL) {
        Ok(()) => Ok(true),
        Err(Errno::SRCH) => Ok(false),
        Err(error) => Err(error.into()),
    }
}

/// Waits for the end of a process, at most until `deadline`. Returns whether it has ended. Blocks.
///
/// # Errors
/// The descriptor is of something that cannot be waited for.
pub fn ends_by(process: impl AsFd, deadline: Instant) -> io::Result<bool> {
    loop {
        let left = deadline.saturating_duration_since(Instant::now());
        let timeout = Timespec::try_from(left).map_err(io::Error::other)?;
        match poll(&mut [PollFd::new(&process, PollFlags::IN)], Some(&timeout)) {
            Ok(ready) => return Ok(ready > 0),
            Err(Errno::INTR) => {}
            Err(error) => return Err(error.into()),
        }
    }
}

/// The numbers of all processes in `/proc`; none where it cannot be listed.
pub fn all() -> impl Iterator<Item = u32> {
    let entries = fs::read_dir("/proc").into_iter().flatten().flatten();
    entries.filter_map(|entry| entry.file_name().to_str()?.parse().ok())
}

/// When the process with this number in `/proc` started, in clock ticks since the host's boot
/// (proc_pid_stat(5), field 22).
///
/// # Errors
/// There is none.
pub fn start_time(number: u32) -> io::Result<u64> {
    let stat = fs::read(format!("/proc/{number}/stat"))?;
    parse_start_time(&stat).ok_or_else(|| invalid("/proc/<pid>/stat has no start time"))
}

/// The second field, the name, may hold anything, so the count starts behind its closing
/// parenthesis.
fn parse_start_time(stat: &[u8]) -> Option<u64> {
    let behind_name = stat.iter().rposition(|&byte| byte == b')')? + 1;
    let rest = std::str::from_utf8(stat.get(behind_name..)?).ok()?;
    rest.split_ascii_whitespace().nth(19)?.parse().ok()
}

/// A pidfd of the process with this number in the caller's pid namespace, as in cgroup.procs
/// (cgroups(7)). `None` if there is none.
///
/// # Errors
/// This process has too many open descriptors.
pub fn hold_here(pid: u32) -> io::Result<Option<OwnedFd>> {
    let Some(pid) = i32::try_from(pid).ok().and_then(Pid::from_raw) else {
        return Ok(None);
    };
    match pidfd_open(pid, PidfdFlags::empty()) {
        Ok(process) => Ok(Some(process)),
        // The number of a thread that is not its process's first: no process.
        Err(Errno::SRCH | Errno::INVAL | Errno::NOENT) => Ok(None),
        Err(error) => Err(error.into()),
    }
}

/// What `/proc` shows as the number of a held process: 0 if it is not in it, -1 if it was reaped.
fn shown_number(process: impl AsFd) -> io::Result<i64> {
    let fd = process.as_fd().as_raw_fd();
    let info = fs::read_to_string(format!("/proc/self/fdinfo/{fd}")).map_err(foreign)?;
    let number = info
        .lines()
        .find_map(|line| line.strip_prefix("Pid:")?.trim().parse().ok());
    number.ok_or_else(|| invalid("/proc/self/fdinfo says no number of a process"))
}

/// The number for system calls of the process that has `number` in `/proc`, and whether `/proc` is
/// of this process's own namespace.
fn number_here(number: u32) -> io::Result<Option<(u32, bool)>> {
    let own = numbers("self").map_err(foreign)?;
    if own.len() <= 1 {
        return Ok(Some((number, true)));
    }
    let numbers = match numbers(&number.to_string()) {
        Err(error) if is_gone(&error) => return Ok(None),
        other => other?,
    };
    match numbers.get(own.len() - 1) {
        Some(here) => Ok(Some((*here, false))),
        None => Err(unseen(number)),
    }
}

fn unseen(number: u32) -> io::Error {
    io::Error::new(
        io::ErrorKind::Unsupported,
        format!(
            "process {number} is of another pid namespace and is not seen from this one \
             (`nsenter --pid=/proc/1/ns/pid` enters the host's)"
        ),
    )
}

/// The numbers of a process, from the namespace of `/proc` to its own (`NSpid` of
/// proc_pid_status(5)).
fn numbers(of: &str) -> io::Result<Vec<u32>> {
    let status = fs::read_to_string(format!("/proc/{of}/status"))?;
    let line = status.lines().find_map(|line| line.strip_prefix("NSpid:"));
    let numbers = line.map(|line| line.split_ascii_whitespace().map(str::parse).collect());
    match numbers {
        Some(Ok(numbers)) => Ok(numbers),
        _ => Err(invalid("/proc/<pid>/status has no NSpid")),
    }
}

fn is_gone(error: &io::Error) -> bool {
    error.kind() == io::ErrorKind::NotFound
        || error.raw_os_error() == Some(Errno::SRCH.raw_os_error())
}

fn invalid(why: &'static str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, why)
}

/// Without `/proc/self` nothing in `/proc` is this process's.
fn foreign(error: io::Error) -> io::Error {
    if error.kind() == io::ErrorKind::NotFound {
        io::Error::new(
            io::ErrorKind::Unsupported,
            "/proc is not mounted, or is of a pid namespace in which this process does not exist",
        )
    } else {
        error
    }
}

#[cfg(test)]
mod tests;

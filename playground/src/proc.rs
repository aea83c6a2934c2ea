//! What the kernel says of processes and mounts.

use std::{
    fs,
    os::fd::{AsFd, OwnedFd},
    path::{Path, PathBuf},
    time::Duration,
};

use rustix::process::{Signal, pidfd_send_signal};
use system::process;

use crate::{
    Error, Result,
    wait::{Deadline, readable},
};

/// Variable of the environment that tells a playground's processes from all others.
pub const MARK: &str = "IMPRINT_PLAYGROUND";

/// Programs that may outlive their starter and may have been given another environment.
const PROGRAMS: [&str; 6] = [
    "containerd",
    "containerd-shim-imprint-v2",
    "containerd-shim-runc-v2",
    "imprint",
    "mkfs.erofs",
    "qemu-system-x86_64",
];

/// A process, named so that a reused pid is not mistaken for it.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Process {
    /// The process's number in `/proc`.
    pub pid: i32,
    /// Field 22 of `/proc/<pid>/stat` (proc_pid_stat(5)): clock ticks since the host's boot.
    pub start_time: u64,
    /// The command line, arguments joined by spaces; the name in brackets where there is none.
    pub command: String,
}

impl Process {
    /// Reads a process that runs; `None` when there is none, or only its zombie.
    #[must_use]
    pub fn read(pid: i32) -> Option<Self> {
        let directory = PathBuf::from(format!("/proc/{pid}"));
        let stat = fs::read_to_string(directory.join("stat")).ok()?;
        // The name, in parentheses, may hold anything; what follows the last one is regular.
        let (head, tail) = stat.rsplit_once(") ")?;
        let mut fields = tail.split(' ');
        if fields.next()? == "Z" {
            return None;
        }
        let start_time = fields.nth(18)?.parse().ok()?;
        let arguments = fs::read(directory.join("cmdline")).ok()?;
        let mut command = String::from_utf8_lossy(&arguments)
            .replace('\0', " ")
            .trim()
            .to_owned();
        if command.is_empty() {
            command = format!("[{}]", head.split_once('(')?.1);
        }
        Some(Self {
            pid,
            start_time,
            command,
        })
    }

    /// All processes of this machine that run.
    #[must_use]
    pub fn all() -> Vec<Self> {
        let entries = fs::read_dir("/proc").into_iter().flatten().flatten();
        let pids = entries.filter_map(|entry| entry.file_name().to_str()?.parse().ok());
        pids.filter_map(Self::read).collect()
    }

    /// Whether it was started on behalf of the playground in `directory`: its environment carries
    /// the mark, or it is one of [`PROGRAMS`] and its command line names the directory, or it is
    /// the Cloud Hypervisor of a VM that the playground has. A person's shell or pager that merely
    /// mentions the directory is none of ours.
    #[must_use]
    pub fn belongs_to(&self, directory: &Path) -> bool {
        let mark = format!("{MARK}={}", directory.display());
        let environment = fs::read(format!("/proc/{}/environ", self.pid)).unwrap_or_default();
        if environment
            .split(|byte| *byte == 0)
            .any(|entry| entry == mark.as_bytes())
        {
            return true;
        }
        let mut words = self.command.split(' ');
        let program = words
            .next()
            .and_then(|path| path.rsplit('/').next())
            .unwrap_or_default();
        // Its command line names its VM alone.
        if let Some(vm) = program.strip_prefix("cloud-hypervisor:") {
            let at = |part: &str| directory.join("run").join(part).join(vm);
            return ["s", "vm"]
                .iter()
                .any(|part| at(part).symlink_metadata().is_ok());
        }
        PROGRAMS.contains(&program)
            && directory
                .to_str()
                .is_some_and(|name| self.command.contains(name))
    }

    /// Proportional set size in KiB: shared pages count as the share of each process.
    pub fn pss_kib(&self) -> Result<u64> {
        let path = PathBuf::from(format!("/proc/{}/smaps_rollup", self.pid));
        let text = fs::read_to_string(&path).map_err(Error::io("Reading", &path))?;
        let line = text.lines().find_map(|line| line.strip_prefix("Pss:"));
        let value = line.and_then(|line| line.trim().strip_suffix(" kB")?.trim().parse().ok());
        value.ok_or_else(|| Error::Unexpected(format!("{} has no Pss line", path.display())))
    }

    /// Waits until the process has ended.
    pub fn wait_gone(&self, deadline: Deadline) -> Result<()> {
        match self.open() {
            Some(pidfd) => readable(pidfd.as_fd(), deadline, &format!("{} to end", self.command)),
            None => Ok(()),
        }
    }

    /// Sends a signal, to this process and to no other that may have got its pid.
    pub fn signal(&self, signal: Signal) {
        if let Some(pidfd) = self.open() {
            // Fails only when it has ended by now, which is as good.
            let _ = pidfd_send_signal(pidfd, signal);
        }
    }

    /// Kills the process and waits until it is gone.
    pub fn kill(&self) -> Result<()> {
        self.signal(Signal::KILL);
        self.wait_gone(Deadline::after(Duration::from_secs(10)))
    }

    /// Opens the process, if it still runs.
    #[must_use]
    pub fn open(&self) -> Option<OwnedFd> {
        let held = process::hold_started(self.pid.unsigned_abs(), self.start_time).ok()??;
        // A zombie is held too, and is none that runs.
        Self::read(self.pid).map(|_| held)
    }
}

/// One line of `mountinfo` (proc_pid_mountinfo(5)).
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Mount {
    /// Where it is mounted.
    pub point: PathBuf,
    /// Type, source and options, as one text.
    pub what: String,
}

/// The mounts that this process sees, in the order they were made.
pub fn mounts() -> Result<Vec<Mount>> {
    let path = "/proc/self/mountinfo";
    let text = fs::read_to_string(path).map_err(Error::io("Reading", path))?;
    Ok(text.lines().filter_map(parse_mount).collect())
}

fn parse_mount(line: &str) -> Option<Mount> {
    let (ids, what) = line.split_once(" - ")?;
    let point = ids.split(' ').nth(4)?.replace("\\040", " ");
    Some(Mount {
        point: PathBuf::from(point),
        what: what.to_owned(),
    })
}

#[cfg(test)]
mod tests {
    use super::{MARK, Process, parse_mount};
    use crate::program::Program;

    #[test]
    fn a_mount_line_is_taken_apart() {
        let line = "36 35 98:0 /mnt1 /mnt\\0402 rw,noatime shared:1 - ext3 /dev/root rw,errors=x";
        let mount = parse_mount(line).unwrap();
        assert_eq!(mount.point.to_str(), Some("/mnt 2"));
        assert_eq!(mount.what, "ext3 /dev/root rw,errors=x");
    }

    #[test]
    fn a_process_is_found_by_its_environment_and_killed() {
        let directory = std::path::Path::new("/nowhere/imprint-proc-test");
        let mut sleeper = Program::new("sh")
            .args(["-c", "echo up; read -r line"])
            .open_input()
            .env(MARK, directory)
            .start()
            .unwrap();
        // A program has its environment a moment after its process exists.
        sleeper.read_until("up").unwrap();
        let pid = i32::try_from(sleeper.pid()).unwrap();
        let process = Process::read(pid).unwrap();
        assert!(process.belongs_to(directory));
        process.kill().unwrap();
        assert_eq!(sleeper.finish().unwrap().code, 137);
        assert_eq!(Process::read(pid), None);
    }
}

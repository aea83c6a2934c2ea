//! Process 1 of a pid namespace that the agent makes. It does nothing but reap what it inherits.
//!
//! It is the agent's own program, started twice: the launcher creates a new namespace for its
//! children, and its child is process 1. Every process of the namespace can look at it through
//! `/proc/1`. So it has an empty root, no capabilities, and no descriptors but two pipes and the
//! null device. A container with `CAP_SYS_PTRACE` can even control it. So it is in a cgroup with
//! default device rules and with limits.

use std::{
    env,
    fs::{self, File},
    io::{self, BufRead, BufReader, Read, Write},
    os::{
        fd::{AsFd, OwnedFd},
        unix::process::CommandExt,
    },
    path::Path,
    process::{Command, Stdio},
    sync::Arc,
    time::Duration,
};

use caps::CapSet;
use nix::{
    fcntl::OFlag,
    mount::{MntFlags, MsFlags, mount, umount2},
    poll::{PollFd, PollFlags, PollTimeout, poll},
    sched::{CloneFlags, unshare},
    sys::prctl,
    unistd::{chdir, dup2_stderr, pipe2, pivot_root},
};
use tokio::{task::spawn_blocking, time::timeout};

use super::open;
use crate::{
    cgroup,
    error::{Doing, Error, Result},
    reaper::Reaper,
    syscalls,
};

/// The argument with which the agent's program becomes the launcher, and then process 1.
pub const ARGUMENT: &str = "--pid-namespace-init";
/// The name of process 1 in process lists: that of a pod's pause container.
const NAME: &str = "/pause";
/// How long process 1 may take to start.
const START_TIMEOUT: Duration = Duration::from_secs(30);
/// Where the empty root is mounted before it becomes the root.
const NEW_ROOT: &str = "/run";
const NULL_DEVICE: &str = "/dev/null";

/// The line that process 1 writes to the agent when it is ready.
const READY: &str = "ready";
/// Begins the line with which the launcher reports the pid of process 1.
const PID: &str = "pid ";

/// A running process 1 of the agent's own. It ends when this is dropped.
#[derive(Debug)]
pub struct OwnInit {
    /// The standard input of process 1, which ends when this is closed.
    #[expect(dead_code, reason = "it is only held open")]
    input: OwnedFd,
    /// The standard output of process 1. It hangs up when process 1 ends.
    output: OwnedFd,
}

impl OwnInit {
    /// Makes a namespace. Returns its process 1 and a descriptor of the namespace.
    ///
    /// # Errors
    ///
    /// When a step fails, or process 1 is not ready within 30 seconds.
    pub async fn start(reaper: &Arc<Reaper>) -> Result<(Self, OwnedFd)> {
        cgroup::check_confinement()?;
        let pipe = || pipe2(OFlag::O_CLOEXEC).doing(|| "make a pipe".into());
        let ((stdin, input), (output, stdout)) = (pipe()?, pipe()?);
        let launcher = reaper.new_child();
        let child = program(true)
            .doing(|| "find the agent's own program".into())?
            .stdin(Stdio::from(stdin))
            .stdout(Stdio::from(stdout))
            .spawn()
            .doing(|| "start process 1 of a pid namespace".into())?;
        let _launcher_ends_soon = launcher.claim(child.id().cast_signed());
        let lines = output.try_clone().doing(|| "duplicate a pipe".into())?;
        let pid = spawn_blocking(move || read_pid(BufReader::new(File::from(lines))));
        let pid = timeout(START_TIMEOUT, pid)
            .await
            .map_err(|_elapsed| Error::Timeout {
                event: "process 1 of a pid namespace".into(),
                after: START_TIMEOUT,
            })?
            .map_err(io::Error::other)
            .and_then(|pid| pid)
            .doing(|| "start process 1 of a pid namespace".into())?;
        // Process 1 lives until its input ends, so the pid is still its own.
        let descriptor = open(pid)?;
        Ok((Self { input, output }, descriptor))
    }

    /// Whether process 1 has ended; it was killed then.
    pub fn has_ended(&self) -> bool {
        let mut output = [PollFd::new(self.output.as_fd(), PollFlags::empty())];
        let closed = PollFlags::POLLHUP | PollFlags::POLLERR;
        poll(&mut output, PollTimeout::ZERO).is_ok()
            && output[0]
                .revents()
                .is_some_and(|seen| seen.intersects(closed))
    }
}

/// Reads the lines of the launcher and of process 1, in any order. Returns the pid of process 1
/// when both have written theirs.
fn read_pid(lines: impl BufRead) -> io::Result<i32> {
    let (mut pid, mut ready) = (None, false);
    for line in lines.lines() {
        let line = line?;
        ready |= line == READY;
        pid = pid.or(line.strip_prefix(PID).and_then(|pid| pid.parse().ok()));
        if let (Some(pid), true) = (pid, ready) {
            return Ok(pid);
        }
    }
    Err(io::Error::other("it ended before it was ready"))
}

fn program(launcher: bool) -> io::Result<Command> {
    let mut program = Command::new(env::current_exe()?);
    program.arg(ARGUMENT).env_clear().current_dir("/");
    if !launcher {
        program.arg0(NAME);
    }
    Ok(program)
}

/// Runs as the launcher, or as process 1 if it is that.
///
/// # Errors
///
/// When a step fails.
pub fn run() -> Result<()> {
    if std::process::id() == 1 {
        run_as_init()
    } else {
        cgroup::confine()?;
        unshare(CloneFlags::CLONE_NEWPID).doing(|| "create a pid namespace".into())?;
        let child = program(false).and_then(|mut program| program.spawn());
        let child = child.doing(|| "start process 1".into())?;
        write_line(&format!("{PID}{}", child.id()))
    }
}

fn run_as_init() -> Result<()> {
    syscalls::close_inherited().doing(|| "close inherited descriptors".into())?;
    syscalls::ignore_sigchld();
    let null = File::options().write(true).open(NULL_DEVICE);
    let null = null.on("open", Path::new(NULL_DEVICE))?;
    // Like the zygote's. Without the privilege it stays as it is.
    let _not_privileged = fs::write("/proc/self/oom_score_adj", "-999");
    enter_empty_root()?;
    drop_privileges()?;
    // Until here errors go to the guest's console, which containers must not reach.
    dup2_stderr(&null).doing(|| "close the error output".into())?;
    drop(null);
    write_line(READY)?;
    // The agent never writes: the input ends when the agent or its pod does.
    let read = io::stdin().read(&mut [0]);
    read.map(drop)
        .doing(|| "wait for the end of the pod".into())
}

fn enter_empty_root() -> Result<()> {
    let none = None::<&str>;
    let root = |doing: &'static str| move || format!("{doing} an empty root");
    unshare(CloneFlags::CLONE_NEWNS).doing(|| "create a mount namespace".into())?;
    let private = MsFlags::MS_REC | MsFlags::MS_PRIVATE;
    mount(none, "/", none, private, none).doing(|| "make the mounts private".into())?;
    let restricted = MsFlags::MS_NOSUID | MsFlags::MS_NODEV | MsFlags::MS_NOEXEC;
    let at = Path::new(NEW_ROOT);
    mount(
        Some("pause"),
        at,
        Some("tmpfs"),
        restricted,
        Some("mode=0555"),
    )
    .doing(root("mount"))?;
    chdir(at).doing(root("enter"))?;
    pivot_root(".", ".").doing(root("change to"))?;
    umount2(".", MntFlags::MNT_DETACH).doing(|| "unmount the old root".into())?;
    chdir("/").doing(root("enter"))?;
    let read_only = restricted | MsFlags::MS_REMOUNT | MsFlags::MS_RDONLY;
    mount(none, "/", none, read_only, none).doing(root("make read-only"))
}

fn drop_privileges() -> Result<()> {
    prctl::set_no_new_privs().doing(|| "set no_new_privs".into())?;
    for set in [
        CapSet::Ambient,
        CapSet::Bounding,
        CapSet::Inheritable,
        CapSet::Effective,
        CapSet::Permitted,
    ] {
        caps::clear(None, set)
            .map_err(io::Error::other)
            .doing(|| format!("clear the {set:?} capabilities"))?;
    }
    prctl::set_dumpable(false).doing(|| "make the process undumpable".into())
}

/// Writes a line to the agent, in one write: the launcher and process 1 share the pipe.
fn write_line(line: &str) -> Result<()> {
    let line = format!("{line}\n");
    let written = io::stdout().write_all(line.as_bytes());
    written.doing(|| "write to the agent".into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_pid_is_returned_when_both_have_written() {
        let read = |lines: &str| read_pid(lines.as_bytes());
        assert_eq!(read("pid 17\nready\n").unwrap(), 17);
        assert_eq!(read("ready\npid 17\n").unwrap(), 17);
        for cut in ["", "pid 17\n", "ready\n", "pid x\nready\n"] {
            let error = read(cut).unwrap_err().to_string();
            assert!(error.contains("before it was ready"), "{cut:?}: {error}");
        }
    }
}

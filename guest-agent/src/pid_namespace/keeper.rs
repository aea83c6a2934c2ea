//! Process 1 of a namespace that the agent makes: does nothing, and reaps what it inherits.
//!
//! It is the agent's own program, started twice: the first enters a new namespace for its children, the
//! second is its first process. What it can reach is bare, since every process of the namespace may look
//! through `/proc/1`: an empty root, no capabilities, no descriptors but its two pipes and the null device.
//! A container with `CAP_SYS_PTRACE` can have it do what it wants; so it is in a group with the device
//! rules of such containers, and with limits.

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
    raw,
    reaper::Reaper,
};

/// The agent's argument for it.
pub const ARGUMENT: &str = "--keep-pid-namespace";
/// What a process list shows, as with a pod that has a container for this.
const NAME: &str = "/pause";
/// How long it may take to be there.
const PATIENCE: Duration = Duration::from_secs(30);
/// Where its empty root is mounted before it is the root.
const AT: &str = "/run";

const NOWHERE: &str = "/dev/null";

const READY: &str = "ready";
const PID: &str = "pid ";

/// Keeps a namespace while it lives.
#[derive(Debug)]
pub struct Keeper {
    /// The process ends with this.
    _life: OwnedFd,
    /// Closed by its end.
    end: OwnedFd,
}

impl Keeper {
    /// Makes a namespace, and a descriptor of it.
    ///
    /// # Errors
    ///
    /// When the system refuses, or it takes too long.
    pub async fn start(reaper: &Arc<Reaper>) -> Result<(Self, OwnedFd)> {
        cgroup::check_confinement()?;
        let pipe = || pipe2(OFlag::O_CLOEXEC).doing(|| "make a pipe".into());
        let ((theirs, life), (end, told)) = (pipe()?, pipe()?);
        let expectation = reaper.expect_child();
        let child = program(true)
            .doing(|| "find the agent's own program".into())?
            .stdin(Stdio::from(theirs))
            .stdout(Stdio::from(told))
            .spawn()
            .doing(|| "start an init for the pod's processes".into())?;
        let _the_first_ends_soon = expectation.claim(child.id().cast_signed());
        let news = end.try_clone().doing(|| "share a pipe".into())?;
        let told = spawn_blocking(move || pid_of(BufReader::new(File::from(news))));
        let pid = timeout(PATIENCE, told)
            .await
            .map_err(|_late| Error::Timeout {
                event: "an init for the pod's processes".into(),
                after: PATIENCE,
            })?
            .map_err(io::Error::other)
            .and_then(|told| told)
            .doing(|| "make an init for the pod's processes".into())?;
        // It lives until its pipe closes, so the number is still its own.
        let descriptor = open(pid)?;
        Ok((Self { _life: life, end }, descriptor))
    }

    /// Whether it was killed.
    pub fn has_ended(&self) -> bool {
        let mut end = [PollFd::new(self.end.as_fd(), PollFlags::empty())];
        let closed = PollFlags::POLLHUP | PollFlags::POLLERR;
        poll(&mut end, PollTimeout::ZERO).is_ok()
            && end[0].revents().is_some_and(|seen| seen.intersects(closed))
    }
}

/// The number that the first process tells, once the second is ready.
fn pid_of(news: impl BufRead) -> io::Result<i32> {
    let (mut pid, mut ready) = (None, false);
    for line in news.lines() {
        let line = line?;
        ready |= line == READY;
        pid = pid.or(line.strip_prefix(PID).and_then(|pid| pid.parse().ok()));
        if let (Some(pid), true) = (pid, ready) {
            return Ok(pid);
        }
    }
    Err(io::Error::other("it ended before it was ready"))
}

fn program(first: bool) -> io::Result<Command> {
    let mut program = Command::new(env::current_exe()?);
    program.arg(ARGUMENT).env_clear().current_dir("/");
    if !first {
        program.arg0(NAME);
    }
    Ok(program)
}

/// What the program does when it is started with [`ARGUMENT`].
///
/// # Errors
///
/// When the system refuses a step.
pub fn run() -> Result<()> {
    if std::process::id() == 1 {
        keep()
    } else {
        cgroup::confine()?;
        unshare(CloneFlags::CLONE_NEWPID).doing(|| "make a process namespace".into())?;
        let child = program(false).and_then(|mut program| program.spawn());
        let child = child.doing(|| "start the first process of a namespace".into())?;
        tell(&format!("{PID}{}", child.id()))
    }
}

fn keep() -> Result<()> {
    raw::close_inherited().doing(|| "close what it was started with".into())?;
    raw::leave_children_to_the_kernel();
    let nowhere = File::options().write(true).open(NOWHERE);
    let nowhere = nowhere.on("open", Path::new(NOWHERE))?;
    // As the zygote's: without the privilege it stays as it is.
    let _not_privileged = fs::write("/proc/self/oom_score_adj", "-999");
    empty_root()?;
    give_up_power()?;
    // What it could not do was told there; the guest's console is not for containers.
    dup2_stderr(&nowhere).doing(|| "let go of the error output".into())?;
    drop(nowhere);
    tell(READY)?;
    // Nobody writes: this is the end of the agent, or of its pod.
    let read = io::stdin().read(&mut [0]);
    read.map(drop).doing(|| "wait for the pod's end".into())
}

fn empty_root() -> Result<()> {
    let nothing = None::<&str>;
    let root = |doing: &'static str| move || format!("{doing} an empty root");
    unshare(CloneFlags::CLONE_NEWNS).doing(|| "make a mount namespace".into())?;
    let alone = MsFlags::MS_REC | MsFlags::MS_PRIVATE;
    mount(nothing, "/", nothing, alone, nothing).doing(|| "make the mounts private".into())?;
    let bare = MsFlags::MS_NOSUID | MsFlags::MS_NODEV | MsFlags::MS_NOEXEC;
    let at = Path::new(AT);
    mount(Some("pause"), at, Some("tmpfs"), bare, Some("mode=0555")).doing(root("mount"))?;
    chdir(at).doing(root("enter"))?;
    pivot_root(".", ".").doing(root("change to"))?;
    umount2(".", MntFlags::MNT_DETACH).doing(|| "leave the old root".into())?;
    chdir("/").doing(root("enter"))?;
    let sealed = bare | MsFlags::MS_REMOUNT | MsFlags::MS_RDONLY;
    mount(nothing, "/", nothing, sealed, nothing).doing(root("seal"))
}

fn give_up_power() -> Result<()> {
    prctl::set_no_new_privs().doing(|| "refuse new privileges".into())?;
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
    prctl::set_dumpable(false).doing(|| "keep others from looking in".into())
}

/// One write, so that the lines of two processes do not mix.
fn tell(line: &str) -> Result<()> {
    let line = format!("{line}\n");
    let told = io::stdout().write_all(line.as_bytes());
    told.doing(|| "tell the agent".into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_number_counts_once_both_have_told() {
        let told = |news: &str| pid_of(news.as_bytes());
        assert_eq!(told("pid 17\nready\n").unwrap(), 17);
        assert_eq!(told("ready\npid 17\n").unwrap(), 17);
        for cut in ["", "pid 17\n", "ready\n", "pid x\nready\n"] {
            let error = told(cut).unwrap_err().to_string();
            assert!(error.contains("before it was ready"), "{cut:?}: {error}");
        }
    }
}

//! The VMM's process: started, watched to its end, and never left behind.

use std::{
    io,
    os::{fd::OwnedFd, unix::process::ExitStatusExt},
    path::{Path, PathBuf},
    process::{ExitStatus, Stdio},
    sync::Arc,
    time::Duration,
};

use system::process;
use system::sync::Mutex;
use tokio::{
    process::{Child, Command},
    sync::watch,
    task::JoinHandle,
    time::timeout,
};

use crate::{Error, Result, VmExit, VmmProcess, last_words::LastWords, netns};

/// How long the end of standard error may come after the end of the process.
const STDERR_GRACE: Duration = Duration::from_secs(1);
/// How long a killed process may take to be gone: it has to free its memory.
const KILL_TIMEOUT: Duration = Duration::from_secs(30);

/// How a VMM is started.
pub struct Start<'a> {
    /// Path of the program.
    pub binary: &'a Path,
    /// What it is called in a list of processes, where its arguments do not name the VM.
    pub name: Option<String>,
    /// Its arguments, without the program's name.
    pub arguments: &'a [String],
    /// What it has as its standard input: its control connection, or the socket it listens on.
    pub stdin: OwnedFd,
    /// What it has as its standard output, or nothing.
    pub stdout: Option<OwnedFd>,
    /// Sockets that end with it.
    pub sockets: Vec<PathBuf>,
    /// Network namespace, by path; `None` is the caller's.
    pub netns: Option<&'a Path>,
}

/// A VMM's process. Dropping it kills the process; a task reaps it.
#[derive(Debug)]
pub struct Process {
    identity: VmmProcess,
    pidfd: OwnedFd,
    exit: watch::Receiver<Option<VmExit>>,
    last_words: LastWords,
    /// Removed once, by the drop or by the reaping task: after a drop, the paths may belong to the
    /// next VM of the same run directory before this process is reaped.
    sockets: Arc<Mutex<Vec<PathBuf>>>,
}

impl Process {
    /// Starts what `start` says with an empty environment. When the process has ended, its sockets
    /// are removed before any waiter learns of it.
    pub fn spawn(start: Start<'_>, log: &slog::Logger) -> Result<Self> {
        let (binary, netns) = (start.binary, start.netns);
        let failed = |source| Error::Spawn {
            binary: binary.to_owned(),
            source,
        };
        let (mut command, sockets) = command(start);
        let mut child = netns::spawn(&mut command, netns).map_err(failed)?;
        let (identity, pidfd) = identify(&child).map_err(failed)?;
        let last_words = LastWords::default();
        let listener = child
            .stderr
            .take()
            .map(|stderr| tokio::spawn(last_words.clone().listen(stderr, log.clone())));
        let (tell, exit) = watch::channel(None);
        let words = last_words.clone();
        let sockets = Arc::new(Mutex::new(sockets));
        let to_remove = sockets.clone();
        tokio::spawn(async move {
            let code = exit_code(child.wait().await);
            drain(listener).await;
            remove(&to_remove);
            tell.send_replace(Some(VmExit {
                code,
                last_words: words.text(),
            }));
        });
        Ok(Self {
            identity,
            pidfd,
            exit,
            last_words,
            sockets,
        })
    }

    /// The process, named so that it can be found again.
    pub fn identity(&self) -> VmmProcess {
        self.identity
    }

    /// Waits until the process has ended, however long that takes.
    pub async fn wait(&self) -> VmExit {
        let mut exit = self.exit.clone();
        let ended = exit
            .wait_for(Option::is_some)
            .await
            .ok()
            .and_then(|exit| exit.clone());
        // Only a runtime that is shut down ends the watching task before it has reported.
        ended.unwrap_or_else(|| VmExit {
            code: None,
            last_words: self.last_words.text(),
        })
    }

    /// Waits until the process has ended, but not longer than `limit`.
    pub async fn ended_within(&self, limit: Duration) -> Option<VmExit> {
        timeout(limit, self.wait()).await.ok()
    }

    /// Ends the process by SIGKILL and waits until it is reaped and its sockets are gone.
    pub async fn kill(&self) -> Result<VmExit> {
        self.signal_kill();
        self.ended_within(KILL_TIMEOUT)
            .await
            .ok_or_else(|| Error::Timeout {
                waited_for: format!("the end of killed VMM {}", self.identity.pid),
                waited: KILL_TIMEOUT,
            })
    }

    /// Ends the process when `event` comes, which `why` explains among its last words.
    pub fn kill_on(
        &self,
        event: impl Future<Output = bool> + Send + 'static,
        why: &'static str,
    ) -> io::Result<()> {
        let (pidfd, last_words) = (self.pidfd.try_clone()?, self.last_words.clone());
        tokio::spawn(async move {
            if event.await {
                last_words.add(why);
                let _ = process::kill(&pidfd);
            }
        });
        Ok(())
    }

    fn signal_kill(&self) {
        // The only failure of a pidfd of our own is that the process is gone already.
        let _ = process::kill(&self.pidfd);
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        self.signal_kill();
        remove(&self.sockets);
    }
}

/// What is to be run, and the sockets that end with it.
fn command(start: Start<'_>) -> (Command, Vec<PathBuf>) {
    let mut command = Command::new(start.binary);
    if let Some(name) = start.name {
        command.arg0(name);
    }
    command
        .args(start.arguments)
        .env_clear()
        .current_dir("/")
        .process_group(0)
        .stdin(Stdio::from(start.stdin))
        .stdout(start.stdout.map_or_else(Stdio::null, Stdio::from))
        .stderr(Stdio::piped())
        .kill_on_drop(true);
    (command, start.sockets)
}

fn identify(child: &Child) -> io::Result<(VmmProcess, OwnedFd)> {
    let gone = || io::Error::new(io::ErrorKind::NotFound, "it ended at once");
    let pidfd = process::hold_child(child.id().ok_or_else(gone)?)?;
    // Not the number that it was started by: `/proc` may be of another pid namespace.
    let pid = process::number_of(&pidfd)?;
    let start_time = process::start_time(pid)?;
    Ok((VmmProcess { pid, start_time }, pidfd))
}

/// An error means that the process was reaped by another.
fn exit_code(status: io::Result<ExitStatus>) -> Option<i32> {
    let status = status.ok()?;
    status
        .code()
        .or_else(|| status.signal().map(|signal| 128 + signal))
}

async fn drain(listener: Option<JoinHandle<()>>) {
    if let Some(mut listener) = listener
        && timeout(STDERR_GRACE, &mut listener).await.is_err()
    {
        listener.abort();
    }
}

fn remove(sockets: &Mutex<Vec<PathBuf>>) {
    let sockets = std::mem::take(&mut *sockets.lock());
    for socket in sockets {
        // It may never have been made, or the VMM has removed it itself.
        let _ = std::fs::remove_file(socket);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn log() -> slog::Logger {
        slog::Logger::root(slog::Discard, slog::o!())
    }

    fn shell(script: &str, sockets: Vec<PathBuf>) -> Process {
        let stdin = OwnedFd::from(std::fs::File::open("/dev/null").unwrap());
        let arguments = [String::from("-c"), script.to_owned()];
        let start = Start {
            binary: Path::new("/bin/sh"),
            name: None,
            arguments: &arguments,
            stdin,
            stdout: None,
            sockets,
            netns: None,
        };
        Process::spawn(start, &log()).unwrap()
    }

    #[tokio::test]
    async fn the_end_is_told_to_everyone_with_the_last_words() {
        let process = shell("echo goodbye >&2; exit 3", vec![]);
        let (a, b) = tokio::join!(process.wait(), process.wait());
        assert_eq!(
            a,
            VmExit {
                code: Some(3),
                last_words: "goodbye".into()
            }
        );
        assert_eq!(a, b);
        assert_eq!(process.wait().await, a);
    }

    #[tokio::test]
    async fn a_killed_process_is_gone_with_its_sockets() {
        let dir = tempfile::tempdir().unwrap();
        let socket = dir.path().join("s.sock");
        std::fs::write(&socket, "").unwrap();
        let process = shell("kill -STOP $$", vec![socket.clone()]);
        assert_eq!(process.kill().await.unwrap().code, Some(137));
        assert!(!socket.exists());
    }

    #[tokio::test]
    async fn a_dropped_process_is_killed() {
        let process = shell("kill -STOP $$", vec![]);
        let mut exit = process.exit.clone();
        drop(process);
        let exit = exit
            .wait_for(Option::is_some)
            .await
            .unwrap()
            .clone()
            .unwrap();
        assert_eq!(exit.code, Some(137));
    }

    #[tokio::test]
    async fn a_missing_binary_is_named() {
        let stdin = OwnedFd::from(std::fs::File::open("/dev/null").unwrap());
        let start = Start {
            binary: Path::new("/no/such"),
            name: None,
            arguments: &[],
            stdin,
            stdout: None,
            sockets: vec![],
            netns: None,
        };
        let error = Process::spawn(start, &log()).unwrap_err();
        assert_eq!(error.to_string(), "VMM /no/such did not start");
    }
}

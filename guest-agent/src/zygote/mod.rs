//! The zygote: a process with one thread that containers are forked from.
//!
//! libcontainer forks without executing a program, which a process with several threads must not
//! do. So the agent has the zygote run libcontainer. It is the agent's own program, started once.

pub mod directory;
mod protocol;
mod reason;
mod trace;
pub mod worker;
mod workload;

use std::{
    env, fs, io,
    os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd},
    path::{Path, PathBuf},
    process::{Command, Stdio},
    sync::Arc,
    time::Duration,
};

use nix::sys::{
    socket::{AddressFamily, SockFlag, SockType, setsockopt, socketpair, sockopt::ReceiveTimeout},
    time::{TimeVal, TimeValLike},
};
use system::sync::Mutex;

use self::protocol::{Reply, receive, send};
pub use self::{protocol::Request, reason::is_about_mounts};
use crate::{
    error::{Doing, Error, Result},
    reaper::{Exit, Reaper},
};

/// How long the zygote may take for an answer. It serves one request after another, so a request
/// that hangs blocks all others. Shorter than hosts wait for the answer to a call.
const TIMEOUT: Duration = Duration::from_secs(45);

/// Makes the command that starts the zygote from the directory of libcontainer's records.
type Program = fn(&Path) -> io::Result<Command>;

/// Sends requests to the zygote. Clones use the same zygote.
#[derive(Debug, Clone)]
pub struct Zygote(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    state: PathBuf,
    reaper: Arc<Reaper>,
    program: Program,
    timeout: Duration,
    /// `None` before the start, and after the zygote has ended or was killed.
    worker: Mutex<Option<Worker>>,
}

/// The running process, and the socket to it.
#[derive(Debug)]
struct Worker {
    socket: OwnedFd,
    pid: i32,
}

/// A process that the zygote has made.
#[derive(Debug)]
pub struct Child {
    pub pid: i32,
    pub exit: Exit,
}

impl Zygote {
    /// A zygote that keeps libcontainer's records in `state`.
    pub fn new(state: PathBuf, reaper: Arc<Reaper>) -> Self {
        Self::with_program(own_program, TIMEOUT, state, reaper)
    }

    fn with_program(
        program: Program,
        timeout: Duration,
        state: PathBuf,
        reaper: Arc<Reaper>,
    ) -> Self {
        Self(Arc::new(Inner {
            state,
            reaper,
            program,
            timeout,
            worker: Mutex::new(None),
        }))
    }

    /// Starts the zygote before the first request.
    ///
    /// # Errors
    ///
    /// When its program does not start.
    pub async fn start(&self) -> Result<()> {
        self.blocking(|inner| {
            let mut worker = inner.worker.lock();
            if worker.is_none() {
                *worker = Some(inner.spawn()?);
            }
            Ok(())
        })
        .await
    }

    /// Sends a request that makes a process, with the descriptors that [`Request`] describes.
    ///
    /// # Errors
    ///
    /// When libcontainer fails, or the zygote does not answer in time.
    pub async fn make(&self, request: Request, descriptors: Vec<OwnedFd>) -> Result<Child> {
        let doing = describe(&request);
        self.blocking(move |inner| {
            let child = inner.reaper.new_child();
            match inner.exchange(&request, &descriptors)? {
                Reply::Child(pid) => Ok(Child {
                    pid,
                    exit: child.claim(pid),
                }),
                Reply::Failed(reason) => Err(Error::Runtime { doing, reason }),
                Reply::Ended => Err(ended(&request)),
                Reply::Done => Err(Error::Runtime {
                    doing,
                    reason: "the zygote has returned no process".into(),
                }),
            }
        })
        .await
    }

    /// Kills a process that cannot be used.
    ///
    /// # Errors
    ///
    /// When the kernel refuses.
    pub fn kill(&self, child: &Child) -> Result<()> {
        self.0.reaper.signal(child.pid, libc::SIGKILL)
    }

    /// Sends a request that makes no process.
    ///
    /// # Errors
    ///
    /// When libcontainer fails, or the zygote does not answer in time.
    pub async fn request(&self, request: Request) -> Result<()> {
        let doing = describe(&request);
        self.blocking(move |inner| match inner.exchange(&request, &[])? {
            Reply::Failed(reason) => Err(Error::Runtime { doing, reason }),
            Reply::Ended => Err(ended(&request)),
            Reply::Done | Reply::Child(_) => Ok(()),
        })
        .await
    }

    /// Removes the directory of libcontainer's records, when there are no containers.
    ///
    /// # Errors
    ///
    /// When it cannot be removed.
    pub fn remove_records(&self) -> Result<()> {
        match fs::remove_dir_all(&self.0.state) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
            other => other.on("remove", &self.0.state),
        }
    }

    async fn blocking<T: Send + 'static>(
        &self,
        work: impl FnOnce(&Inner) -> Result<T> + Send + 'static,
    ) -> Result<T> {
        let inner = Arc::clone(&self.0);
        tokio::task::spawn_blocking(move || work(&inner))
            .await
            .map_err(io::Error::other)
            .doing(|| "wait for the zygote".into())?
    }
}

impl Inner {
    /// Sends a request and waits for the answer. A zygote that has ended, or that does not answer
    /// in time and is killed, is replaced with the next request.
    fn exchange(&self, request: &Request, descriptors: &[OwnedFd]) -> Result<Reply> {
        let mut worker = self.worker.lock();
        let current = match worker.take() {
            Some(current) => current,
            None => self.spawn()?,
        };
        let reply = self.ask(current.socket.as_fd(), request, descriptors);
        if reply.is_ok() {
            *worker = Some(current);
        } else {
            self.reaper.signal(current.pid, libc::SIGKILL)?;
        }
        reply
    }

    fn ask(
        &self,
        socket: BorrowedFd<'_>,
        request: &Request,
        descriptors: &[OwnedFd],
    ) -> Result<Reply> {
        let numbers: Vec<_> = descriptors.iter().map(AsRawFd::as_raw_fd).collect();
        send(socket, request, &numbers).doing(|| "send a request to the zygote".into())?;
        match receive(socket) {
            Ok((reply, _)) => Ok(reply),
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => Err(Error::Timeout {
                event: format!("the zygote to {}; it was killed", describe(request)),
                after: self.timeout,
            }),
            Err(error) => {
                Err(error).doing(|| format!("{}: the zygote has sent no answer", describe(request)))
            }
        }
    }

    fn spawn(&self) -> Result<Worker> {
        let (ours, theirs) = socketpair(
            AddressFamily::Unix,
            SockType::SeqPacket,
            None,
            SockFlag::SOCK_CLOEXEC,
        )
        .doing(|| "make a socket for the zygote".into())?;
        let timeout = i64::try_from(self.timeout.as_millis()).unwrap_or(i64::MAX);
        setsockopt(&ours, ReceiveTimeout, &TimeVal::milliseconds(timeout))
            .doing(|| "limit the wait for the zygote".into())?;
        let mut program =
            (self.program)(&self.state).doing(|| "find the agent's own program".into())?;
        let unclaimed = self.reaper.new_child();
        let child = program
            .env_clear()
            .current_dir("/")
            .stdin(Stdio::from(theirs))
            .spawn()
            .doing(|| "start the zygote".into())?;
        let pid = child.id().cast_signed();
        let _end_is_seen_on_the_socket = unclaimed.claim(pid);
        Ok(Worker { socket: ours, pid })
    }
}

fn own_program(state: &Path) -> io::Result<Command> {
    let mut program = Command::new(env::current_exe()?);
    program.arg("--zygote").arg(state);
    Ok(program)
}

/// The error for [`Reply::Ended`].
fn ended(request: &Request) -> Error {
    let (Request::Create { id, .. }
    | Request::Start { id }
    | Request::Exec { id, .. }
    | Request::Delete { id }) = request;
    Error::State(format!("Container {id} has ended"))
}

/// What a request does; completes the sentence "Could not …".
fn describe(request: &Request) -> String {
    match request {
        Request::Create { id, .. } => format!("create container {id}"),
        Request::Start { id } => format!("start container {id}"),
        Request::Exec { id, .. } => format!("start a process in container {id}"),
        Request::Delete { id } => format!("delete container {id}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Appends its pid to a file, and never answers.
    #[allow(
        clippy::unnecessary_wraps,
        reason = "has the type of a function that may fail"
    )]
    fn mute(state: &Path) -> io::Result<Command> {
        let mut program = Command::new("/bin/sh");
        program
            .args(["-c", "echo $$ >> \"$0/pids\"; exec sleep 600"])
            .arg(state);
        Ok(program)
    }

    fn pids(state: &Path) -> Vec<String> {
        let written = fs::read_to_string(state.join("pids")).unwrap_or_default();
        written.lines().map(str::to_owned).collect()
    }

    #[tokio::test]
    async fn a_zygote_that_does_not_answer_is_killed_and_replaced() {
        let state = tempfile::tempdir().unwrap();
        let reaper = Reaper::start().unwrap();
        let timeout = Duration::from_secs(1);
        let zygote = Zygote::with_program(mute, timeout, state.path().to_owned(), reaper);
        for asked in 1..=2 {
            let request = Request::Start { id: "a".into() };
            let error = zygote.request(request).await.unwrap_err();
            assert!(
                error.chain().contains("Timed out after 1s"),
                "{}",
                error.chain()
            );
            assert_eq!(
                pids(state.path()).len(),
                asked,
                "each request has a zygote of its own"
            );
        }
        let gone = async {
            for pid in pids(state.path()) {
                while Path::new("/proc").join(&pid).exists() {
                    tokio::task::yield_now().await;
                }
            }
        };
        tokio::time::timeout(Duration::from_secs(30), gone)
            .await
            .expect("a zygote that did not answer is still there");
    }
}

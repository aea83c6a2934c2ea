//! A small process of one thread that containers are forked from.
//!
//! libcontainer forks without executing a program, which a process with several threads must not
//! do; so the agent asks this one. It is the agent's own binary, started once and kept.

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
pub use self::{
    protocol::{Request, receive_bytes},
    reason::is_about_mounts,
};
use crate::{
    error::{Doing, Error, Result},
    reaper::{Exit, Reaper},
};

/// How long the zygote may take for an answer. It serves one request after another, so one that
/// hangs would hold up every other; less than hosts wait for the answer to a call.
const PATIENCE: Duration = Duration::from_secs(45);

/// How the zygote's program is run, given the directory of its records.
type Program = fn(&Path) -> io::Result<Command>;

/// Asks the zygote. Clones ask the same one.
#[derive(Debug, Clone)]
pub struct Zygote(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    state: PathBuf,
    reaper: Arc<Reaper>,
    program: Program,
    patience: Duration,
    /// None until first asked, and after the zygote was lost.
    process: Mutex<Option<Process>>,
}

/// The zygote's process.
#[derive(Debug)]
struct Process {
    socket: OwnedFd,
    pid: i32,
}

/// A child that the zygote made: its number and its end.
#[derive(Debug)]
pub struct Child {
    pub pid: i32,
    pub exit: Exit,
}

impl Zygote {
    /// A zygote that keeps libcontainer's records in `state`.
    pub fn new(state: PathBuf, reaper: Arc<Reaper>) -> Self {
        Self::running(own_program, PATIENCE, state, reaper)
    }

    fn running(program: Program, patience: Duration, state: PathBuf, reaper: Arc<Reaper>) -> Self {
        Self(Arc::new(Inner {
            state,
            reaper,
            program,
            patience,
            process: Mutex::new(None),
        }))
    }

    /// Starts the process ahead of the first request.
    ///
    /// # Errors
    ///
    /// When the system does not let it.
    pub async fn warm_up(&self) -> Result<()> {
        self.blocking(|inner| {
            let mut process = inner.process.lock();
            if process.is_none() {
                *process = Some(inner.spawn()?);
            }
            Ok(())
        })
        .await
    }

    /// Has a process made. `descriptors` are as [`Request`] says.
    ///
    /// # Errors
    ///
    /// libcontainer's, with all causes.
    pub async fn make(&self, request: Request, descriptors: Vec<OwnedFd>) -> Result<Child> {
        let doing = describe(&request);
        self.blocking(move |inner| {
            let expectation = inner.reaper.expect_child();
            match inner.ask(&request, &descriptors)? {
                Reply::Child(pid) => Ok(Child {
                    pid,
                    exit: expectation.claim(pid),
                }),
                Reply::Failed(reason) => Err(Error::Runtime { doing, reason }),
                Reply::Ended => Err(ended(&request)),
                Reply::Done => Err(Error::Runtime {
                    doing,
                    reason: "the runtime named no process".into(),
                }),
            }
        })
        .await
    }

    /// Kills a process that was made and is of no use.
    ///
    /// # Errors
    ///
    /// When the kernel refuses.
    pub fn end(&self, child: &Child) -> Result<()> {
        self.0.reaper.signal(child.pid, libc::SIGKILL)
    }

    /// Has something done that makes no process.
    ///
    /// # Errors
    ///
    /// libcontainer's, with all causes.
    pub async fn request(&self, request: Request) -> Result<()> {
        let doing = describe(&request);
        self.blocking(move |inner| match inner.ask(&request, &[])? {
            Reply::Failed(reason) => Err(Error::Runtime { doing, reason }),
            Reply::Ended => Err(ended(&request)),
            Reply::Done | Reply::Child(_) => Ok(()),
        })
        .await
    }

    /// Removes the directory of the runtime's records, once there are no containers.
    ///
    /// # Errors
    ///
    /// When it cannot be removed.
    pub fn forget_records(&self) -> Result<()> {
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
            .doing(|| "wait for the container runtime".into())?
    }
}

impl Inner {
    /// One question, one answer. A zygote that was lost, or that does not answer in time and is
    /// killed, is replaced with the next question.
    fn ask(&self, request: &Request, descriptors: &[OwnedFd]) -> Result<Reply> {
        let mut process = self.process.lock();
        let current = match process.take() {
            Some(current) => current,
            None => self.spawn()?,
        };
        let answer = self.exchange(current.socket.as_fd(), request, descriptors);
        if answer.is_ok() {
            *process = Some(current);
        } else {
            self.reaper.signal(current.pid, libc::SIGKILL)?;
        }
        answer
    }

    fn exchange(
        &self,
        socket: BorrowedFd<'_>,
        request: &Request,
        descriptors: &[OwnedFd],
    ) -> Result<Reply> {
        let raw: Vec<_> = descriptors.iter().map(AsRawFd::as_raw_fd).collect();
        send(socket, request, &raw).doing(|| "ask the container runtime".into())?;
        let answer = receive(socket).map_err(|error| match error.kind() {
            io::ErrorKind::WouldBlock => io::Error::new(
                io::ErrorKind::TimedOut,
                format!("waited {:?}, and ended it", self.patience),
            ),
            _ => error,
        });
        let (reply, _) = answer.doing(|| {
            format!(
                "{}: no answer from the container runtime",
                describe(request)
            )
        })?;
        Ok(reply)
    }

    fn spawn(&self) -> Result<Process> {
        let (ours, theirs) = socketpair(
            AddressFamily::Unix,
            SockType::SeqPacket,
            None,
            SockFlag::SOCK_CLOEXEC,
        )
        .doing(|| "make a socket for the container runtime".into())?;
        let patience = i64::try_from(self.patience.as_millis()).unwrap_or(i64::MAX);
        setsockopt(&ours, ReceiveTimeout, &TimeVal::milliseconds(patience))
            .doing(|| "bound the wait for the container runtime".into())?;
        let mut program =
            (self.program)(&self.state).doing(|| "find the agent's own program".into())?;
        let expectation = self.reaper.expect_child();
        let child = program
            .env_clear()
            .current_dir("/")
            .stdin(Stdio::from(theirs))
            .spawn()
            .doing(|| "start the container runtime".into())?;
        let pid = child.id().cast_signed();
        let _its_end_closes_the_socket = expectation.claim(pid);
        Ok(Process { socket: ours, pid })
    }
}

fn own_program(state: &Path) -> io::Result<Command> {
    let mut program = Command::new(env::current_exe()?);
    program.arg("--zygote").arg(state);
    Ok(program)
}

fn ended(request: &Request) -> Error {
    let (Request::Create { id, .. }
    | Request::Start { id }
    | Request::Exec { id, .. }
    | Request::Delete { id }) = request;
    Error::State(format!("Container {id} has ended"))
}

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

    /// Writes down its number and never answers.
    #[allow(
        clippy::unnecessary_wraps,
        reason = "of the type of what finds a program"
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
    async fn one_that_does_not_answer_is_ended_and_replaced() {
        let state = tempfile::tempdir().unwrap();
        let reaper = Reaper::start().unwrap();
        let patience = Duration::from_secs(1);
        let zygote = Zygote::running(mute, patience, state.path().to_owned(), reaper);
        for asked in 1..=2 {
            let request = Request::Start { id: "a".into() };
            let error = zygote.request(request).await.unwrap_err();
            assert!(error.chain().contains("waited 1s"), "{}", error.chain());
            assert_eq!(
                pids(state.path()).len(),
                asked,
                "each request has one of its own"
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

//! A small process of one thread that containers are forked from.
//!
//! libcontainer forks without executing a program, which a process with several threads must not
//! do; so the agent asks this one. It is the agent's own binary, started once and kept.

mod protocol;
pub mod worker;
mod workload;

use std::{
    env, fs, io,
    os::{
        fd::{AsFd, AsRawFd, OwnedFd},
        unix::net::UnixListener,
    },
    path::{Path, PathBuf},
    process::{Command, Stdio},
    sync::{Arc, Mutex, PoisonError},
};

use nix::sys::socket::{AddressFamily, SockFlag, SockType, socketpair};

pub use self::protocol::Request;
use self::protocol::{Reply, receive, receive_bytes, send};
use crate::{
    error::{Doing, Error, Result},
    reaper::{Exit, Reaper},
};

/// Asks the zygote. Clones ask the same one.
#[derive(Debug, Clone)]
pub struct Zygote(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    state: PathBuf,
    reaper: Arc<Reaper>,
    /// None until first asked, and after the zygote was lost.
    socket: Mutex<Option<OwnedFd>>,
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
        Self(Arc::new(Inner {
            state,
            reaper,
            socket: Mutex::new(None),
        }))
    }

    /// Starts the process ahead of the first request.
    ///
    /// # Errors
    ///
    /// When the system does not let it.
    pub async fn warm_up(&self) -> Result<()> {
        self.blocking(|inner| {
            let mut socket = inner.socket.lock().unwrap_or_else(PoisonError::into_inner);
            if socket.is_none() {
                *socket = Some(inner.spawn()?);
            }
            Ok(())
        })
        .await
    }

    /// Has a process made. `standard` are its standard input, output and error, or none of them.
    ///
    /// # Errors
    ///
    /// libcontainer's, with all causes.
    pub async fn make(&self, request: Request, standard: Vec<OwnedFd>) -> Result<Child> {
        let doing = describe(&request);
        self.blocking(move |inner| {
            let expectation = inner.reaper.expect_child();
            match inner.ask(&request, &standard)? {
                Reply::Child(pid) => Ok(Child {
                    pid,
                    exit: expectation.claim(pid),
                }),
                Reply::Failed(reason) => Err(Error::Runtime { doing, reason }),
                Reply::Done => Err(Error::Runtime {
                    doing,
                    reason: "the runtime named no process".into(),
                }),
            }
        })
        .await
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
    /// One question, one answer. A zygote that was lost is replaced with the next question.
    fn ask(&self, request: &Request, descriptors: &[OwnedFd]) -> Result<Reply> {
        let mut socket = self.socket.lock().unwrap_or_else(PoisonError::into_inner);
        let current = match socket.take() {
            Some(current) => current,
            None => self.spawn()?,
        };
        let raw: Vec<_> = descriptors.iter().map(AsRawFd::as_raw_fd).collect();
        send(current.as_fd(), request, &raw).doing(|| "ask the container runtime".into())?;
        let (reply, _) = receive(current.as_fd())
            .doing(|| format!("get an answer from the container runtime ({request:?})"))?;
        *socket = Some(current);
        Ok(reply)
    }

    fn spawn(&self) -> Result<OwnedFd> {
        let (ours, theirs) = socketpair(
            AddressFamily::Unix,
            SockType::SeqPacket,
            None,
            SockFlag::SOCK_CLOEXEC,
        )
        .doing(|| "make a socket for the container runtime".into())?;
        let program = env::current_exe().doing(|| "find the agent's own program".into())?;
        let expectation = self.reaper.expect_child();
        let child = Command::new(program)
            .arg("--zygote")
            .arg(&self.state)
            .env_clear()
            .current_dir("/")
            .stdin(Stdio::from(theirs))
            .spawn()
            .doing(|| "start the container runtime".into())?;
        let _its_end_closes_the_socket = expectation.claim(child.id().cast_signed());
        Ok(ours)
    }
}

fn describe(request: &Request) -> String {
    match request {
        Request::Create { id, .. } => format!("create container {id}"),
        Request::Start { id } => format!("start container {id}"),
        Request::Exec { id, .. } => format!("start a process in container {id}"),
        Request::Delete { id } => format!("delete container {id}"),
    }
}

/// The terminal that a process just made has sent to its console socket.
///
/// # Errors
///
/// When it has not: the process must have been made already.
pub fn receive_terminal(listener: &UnixListener, path: &Path) -> Result<OwnedFd> {
    listener.set_nonblocking(true).on("use", path)?;
    let (connection, _) = listener.accept().on("accept a terminal on", path)?;
    connection.set_nonblocking(true).on("use", path)?;
    let mut name = [0; 256];
    let (_, descriptors) =
        receive_bytes(connection.as_fd(), &mut name).on("receive a terminal on", path)?;
    descriptors
        .into_iter()
        .next()
        .ok_or_else(|| io::Error::from(io::ErrorKind::UnexpectedEof))
        .on("receive a terminal on", path)
}

//! The zygote itself: runs libcontainer, one request after another.
//!
//! It must have one thread only, since it forks without executing a program. The processes that it
//! makes are its siblings: children of the agent, which waits for them.

use std::{
    env, fs, io,
    os::fd::{AsFd, OwnedFd},
    path::{Path, PathBuf},
    sync::Arc,
};

use libcontainer::{
    container::{Container, ContainerStatus, builder::ContainerBuilder},
    error::LibcontainerError,
    oci_spec::runtime::{Process, Spec},
    syscall::syscall::SyscallType,
};

use super::{
    directory,
    protocol::{Reply, Request, receive, send},
    reason::{self, reason},
    trace,
    workload::Workload,
};
use crate::error::{Doing, Result};

/// Longest reason of a failure, in bytes: even escaped it fits into a reply.
const MAX_REASON: usize = 8 << 10;

type RuntimeResult<T> = std::result::Result<T, LibcontainerError>;

/// Serves on standard input until the agent ends. `state` is the directory of libcontainer's
/// records.
///
/// # Errors
///
/// When the socket fails.
pub fn run(state: &Path) -> Result<()> {
    let socket = io::stdin()
        .as_fd()
        .try_clone_to_owned()
        .doing(|| "duplicate the agent's socket".into())?;
    trace::listen().doing(|| "make a file for errors".into())?;
    loop {
        let (request, descriptors) = match receive(socket.as_fd()) {
            Ok(received) => received,
            Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => return Ok(()),
            Err(error) => return Err(error).doing(|| "receive a request".into()),
        };
        // After a failure libcontainer stays in a container's directory, which may be gone by now.
        env::set_current_dir("/").doing(|| "change to /".into())?;
        trace::begin().doing(|| "empty the file for errors".into())?;
        let reply = carry_out(state, &request, descriptors)
            .unwrap_or_else(|error| refusal(state, &request, &error));
        reset_oom_score();
        send(socket.as_fd(), &reply, &[]).doing(|| "send a reply".into())?;
    }
}

fn carry_out(state: &Path, request: &Request, descriptors: Vec<OwnedFd>) -> RuntimeResult<Reply> {
    match request {
        Request::Create {
            id,
            bundle,
            console,
        } => {
            let streams = Streams::new(console.as_deref(), descriptors);
            create(state, id, bundle, &streams)
        }
        Request::Start { id } => {
            load(state, id)?.start()?;
            Ok(Reply::Done)
        }
        Request::Exec {
            id,
            process,
            console,
        } => {
            let streams = Streams::new(console.as_deref(), descriptors);
            let bundle = load(state, id)?.bundle().clone();
            let workload = Workload::exec(&bundle, process, streams.terminal_ready())
                .map_err(LibcontainerError::OtherIO)?;
            let pid = builder(state, id, &streams)?
                .with_executor(workload)
                .as_tenant()
                .with_process(Some(process))
                .with_detach(true)
                .as_sibling(true)
                .build()?;
            Ok(Reply::Child(pid.as_raw()))
        }
        Request::Delete { id } => {
            if state.join(id).exists() {
                load(state, id)?.delete(true)?;
            }
            Ok(Reply::Done)
        }
    }
}

/// Creates a container. libcontainer fails if the working directory does not exist; a second
/// attempt then has a hook that makes it after everything is mounted.
fn create(state: &Path, id: &str, bundle: &Path, streams: &Streams<'_>) -> RuntimeResult<Reply> {
    let attempt = || {
        builder(state, id, streams)?
            .with_executor(Workload::first(streams.terminal_ready()))
            .as_init(bundle)
            .with_systemd(false)
            .with_detach(true)
            .as_sibling(true)
            .build()
    };
    let container = match attempt() {
        Err(_) if reason::lacks_working_directory(&trace::events()) => {
            trace::begin().map_err(LibcontainerError::OtherIO)?;
            let configuration = bundle.join("config.json");
            let before = fs::read(&configuration).map_err(LibcontainerError::OtherIO)?;
            directory::add_hook(&configuration)?;
            let container = attempt();
            fs::write(&configuration, before).map_err(LibcontainerError::OtherIO)?;
            container?
        }
        other => other?,
    };
    let pid = container.pid();
    Ok(pid.map_or(Reply::Done, |pid| Reply::Child(pid.as_raw())))
}

/// Loads the record of a container. Loading fails if its process ends meanwhile, so it is
/// tried twice.
fn load(state: &Path, id: &str) -> RuntimeResult<Container> {
    let directory = state.join(id);
    Container::load(directory.clone()).or_else(|_| Container::load(directory))
}

/// The input and output of a new process.
struct Streams<'a> {
    /// Path of the socket to which the terminal's master is sent.
    console: Option<&'a Path>,
    /// Standard input, output and error; with a console one descriptor, see [`Request`].
    descriptors: Vec<Arc<OwnedFd>>,
}

impl<'a> Streams<'a> {
    fn new(console: Option<&'a Path>, descriptors: Vec<OwnedFd>) -> Self {
        Self {
            console,
            descriptors: descriptors.into_iter().map(Arc::new).collect(),
        }
    }

    /// The descriptor that is at its end when the terminal is ready.
    fn terminal_ready(&self) -> Option<Arc<OwnedFd>> {
        self.console.and(self.descriptors.first()).cloned()
    }
}

fn builder(state: &Path, id: &str, streams: &Streams<'_>) -> RuntimeResult<ContainerBuilder> {
    let mut builder = ContainerBuilder::new(id.to_owned(), SyscallType::default())
        .with_root_path(state)?
        .with_console_socket(streams.console);
    if let [input, output, errors] = &streams.descriptors[..] {
        let copy = |end: &OwnedFd| end.try_clone().map_err(LibcontainerError::OtherIO);
        builder = builder
            .with_stdin(copy(input)?)
            .with_stdout(copy(output)?)
            .with_stderr(copy(errors)?);
    }
    Ok(builder)
}

/// libcontainer sets a container's OOM score on this process, for the container to inherit. The
/// zygote would then be the first to be killed. Without privileges the score is unchanged.
fn reset_oom_score() {
    let _not_privileged = fs::write("/proc/self/oom_score_adj", "-999");
}

fn refusal(state: &Path, request: &Request, error: &LibcontainerError) -> Reply {
    if let Request::Start { id } | Request::Exec { id, .. } = request
        && has_ended(state, id)
    {
        return Reply::Ended;
    }
    let mut reason = reason(error, &trace::events(), &directory_of(request));
    reason.truncate(reason.floor_char_boundary(MAX_REASON));
    Reply::Failed(reason)
}

/// Whether a container's first process has ended or is ending. It has no namespaces then, and a
/// request can fail in any way.
fn has_ended(state: &Path, id: &str) -> bool {
    load(state, id).is_ok_and(|container| {
        container.status() == ContainerStatus::Stopped
            || container
                .pid()
                .is_some_and(|pid| fs::metadata(format!("/proc/{pid}/ns/mnt")).is_err())
    })
}

/// The working directory in a request's specification.
fn directory_of(request: &Request) -> PathBuf {
    let process = match request {
        Request::Create { bundle, .. } => Spec::load(bundle.join("config.json"))
            .ok()
            .and_then(|spec| spec.process().clone()),
        Request::Exec { process, .. } => fs::read(process)
            .ok()
            .and_then(|text| serde_json::from_slice::<Process>(&text).ok()),
        Request::Start { .. } | Request::Delete { .. } => None,
    };
    process.map_or_else(|| "/".into(), |process| process.cwd().clone())
}

//! The zygote's side: makes containers with libcontainer, one request after another.
//!
//! It must have one thread only, for it forks without executing a program. The processes it makes
//! are siblings, children of the agent, which waits for them.

use std::{
    error::Error as _,
    fs, io,
    os::fd::{AsFd, OwnedFd},
    path::Path,
};

use libcontainer::{
    container::{Container, builder::ContainerBuilder},
    error::LibcontainerError,
    syscall::syscall::SyscallType,
};

use super::{
    protocol::{Reply, Request, receive, send},
    workload::Workload,
};
use crate::error::{Doing, Result};

/// Serves on standard input until the agent is gone. `state` is where libcontainer keeps records.
///
/// # Errors
///
/// When the socket fails.
pub fn run(state: &Path) -> Result<()> {
    let socket = io::stdin()
        .as_fd()
        .try_clone_to_owned()
        .doing(|| "take the agent's socket".into())?;
    loop {
        let (request, descriptors) = match receive(socket.as_fd()) {
            Ok(received) => received,
            Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => return Ok(()),
            Err(error) => return Err(error).doing(|| "read a request".into()),
        };
        let reply = carry_out(state, request, descriptors)
            .unwrap_or_else(|error| Reply::Failed(chain(&error)));
        keep_alive();
        send(socket.as_fd(), &reply, &[]).doing(|| "send a reply".into())?;
    }
}

fn carry_out(
    state: &Path,
    request: Request,
    descriptors: Vec<OwnedFd>,
) -> std::result::Result<Reply, LibcontainerError> {
    match request {
        Request::Create {
            id,
            bundle,
            console,
        } => {
            let container = builder(state, id, console.as_deref(), descriptors)?
                .with_executor(Workload::first())
                .as_init(bundle)
                .with_systemd(false)
                .with_detach(true)
                .as_sibling(true)
                .build()?;
            Ok(container
                .pid()
                .map_or(Reply::Done, |pid| Reply::Child(pid.as_raw())))
        }
        Request::Start { id } => {
            Container::load(state.join(id))?.start()?;
            Ok(Reply::Done)
        }
        Request::Exec {
            id,
            process,
            console,
        } => {
            let bundle = Container::load(state.join(&id))?.bundle().clone();
            let workload =
                Workload::beside(&bundle, &process).map_err(LibcontainerError::OtherIO)?;
            let pid = builder(state, id, console.as_deref(), descriptors)?
                .with_executor(workload)
                .as_tenant()
                .with_process(Some(process))
                .with_detach(true)
                .as_sibling(true)
                .build()?;
            Ok(Reply::Child(pid.as_raw()))
        }
        Request::Delete { id } => {
            let directory = state.join(id);
            if directory.exists() {
                Container::load(directory)?.delete(true)?;
            }
            Ok(Reply::Done)
        }
    }
}

fn builder(
    state: &Path,
    id: String,
    console: Option<&Path>,
    descriptors: Vec<OwnedFd>,
) -> std::result::Result<ContainerBuilder, LibcontainerError> {
    let mut builder = ContainerBuilder::new(id, SyscallType::default())
        .with_root_path(state)?
        .with_console_socket(console);
    if let Ok([input, output, errors]) = <[OwnedFd; 3]>::try_from(descriptors) {
        builder = builder
            .with_stdin(input)
            .with_stdout(output)
            .with_stderr(errors);
    }
    Ok(builder)
}

/// libcontainer sets a container's OOM score on this process, for the container to inherit; here
/// it would make the zygote the first to be killed. Without the privilege it stays as it is.
fn keep_alive() {
    let _not_privileged = fs::write("/proc/self/oom_score_adj", "-999");
}

/// libcontainer's own words end where they become useful: the cause is in the sources.
fn chain(error: &LibcontainerError) -> String {
    let mut text = error.to_string();
    let mut next = error.source();
    while let Some(cause) = next {
        let cause_text = cause.to_string();
        if !text.ends_with(&cause_text) {
            text.push_str(": ");
            text.push_str(&cause_text);
        }
        next = cause.source();
    }
    text
}

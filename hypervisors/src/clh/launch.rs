//! From a command line to a VMM that can be called.

use std::{fs, future::Future, os::fd::OwnedFd, path::Path, time::Duration};

use system::socket::listen_privately;
use tokio::net::unix::pipe;

use super::{
    api::{
        Client,
        calls::{Call, Passed},
    },
    events::{Event, Events},
    paths::Sockets,
};
use crate::{
    Error, Result,
    control::ControlError,
    events::Awaited,
    process::{Process, Start},
};

/// How long the end of the process may come after the end of a connection to it: a process has
/// given its memory back by then.
const EXIT_GRACE: Duration = Duration::from_secs(2);

/// What is run for a VM.
#[derive(Debug, Clone, Copy)]
pub struct Program<'a> {
    /// Path of the binary, links resolved.
    pub binary: &'a Path,
    /// Its command line, which says nothing of the VM.
    pub arguments: &'a [String],
    /// Name of the VM, by which the process is found in lists.
    pub vm: &'a str,
}

/// A VMM: its process, its API and its events.
#[derive(Debug)]
pub struct Vmm {
    process: Process,
    api: Client,
    events: Events,
}

impl Vmm {
    /// Starts a VMM on a socket that already listens: a call can be made at once, and is
    /// answered when the VMM is there.
    ///
    /// # Errors
    /// It could not be started. No process and no socket is left.
    pub async fn start(
        program: Program<'_>,
        sockets: Sockets,
        netns: Option<&Path>,
        log: &slog::Logger,
    ) -> Result<Self> {
        let listener = listen(&sockets.api)?;
        let started = start(program, &sockets, listener, netns, log);
        if started.is_err() {
            let _ = fs::remove_file(&sockets.api);
        }
        started
    }

    /// The process of the VMM.
    pub fn process(&self) -> &Process {
        &self.process
    }

    /// Makes a call and returns its reply.
    pub async fn call<C: Call>(&self, call: &C) -> Result<C::Reply> {
        self.call_with(call, None).await
    }

    /// Makes a call that takes a descriptor along.
    pub async fn call_with<C: Call>(&self, call: &C, passed: Passed) -> Result<C::Reply> {
        match self.api.call(call, passed).await {
            Ok(reply) => Ok(reply),
            Err(error) => Err(self.explain(error, C::NAME).await),
        }
    }

    /// Starts to wait for the first event that `wanted` accepts. To be called before the call that
    /// leads to it.
    pub fn wait_for(&self, wanted: impl Fn(&Event) -> bool + Send + 'static) -> Awaited<Event> {
        self.events.wait_for(wanted)
    }

    /// The event, if it comes within `timeout`. An error names it as `what`, and as `during` the
    /// step that it was to end.
    pub async fn event(
        &self,
        awaited: Awaited<Event>,
        what: &str,
        timeout: Duration,
        during: &'static str,
    ) -> Result<Event> {
        match awaited.within(timeout).await {
            Ok(event) => Ok(event),
            Err(why) => {
                let error = ControlError::no_event(why, what, timeout);
                Err(self.explain(error, during).await)
            }
        }
    }

    async fn explain(&self, error: ControlError, during: &'static str) -> Error {
        error.explain(during, &self.process, EXIT_GRACE).await
    }
}

fn start(
    program: Program<'_>,
    sockets: &Sockets,
    listener: OwnedFd,
    netns: Option<&Path>,
    log: &slog::Logger,
) -> Result<Vmm> {
    let failed = |source| Error::Spawn {
        binary: program.binary.to_owned(),
        source,
    };
    let (theirs, ours) = pipe::pipe().map_err(failed)?;
    let theirs = theirs.into_blocking_fd().map_err(failed)?;
    let start = Start {
        binary: program.binary,
        name: Some(format!("cloud-hypervisor:{}", program.vm)),
        arguments: program.arguments,
        stdin: listener,
        stdout: Some(theirs),
        sockets: vec![sockets.api.clone(), sockets.vsock.clone()],
        netns,
    };
    let process = Process::spawn(start, log)?;
    let events = Events::default();
    process
        .kill_on(reset(&events), "the guest has reset itself")
        .map_err(failed)?;
    tokio::spawn(events.clone().listen(ours, log.clone()));
    Ok(Vmm {
        process,
        api: Client::new(sockets.api.clone()),
        events,
    })
}

/// A guest that resets would be booted anew by the VMM, as a VM that was not asked for.
fn reset(events: &Events) -> impl Future<Output = bool> + Send + 'static {
    let reset = events.wait_for(|event| event.is("vm", "rebooting"));
    async move { reset.ever().await.is_some() }
}

fn listen(path: &Path) -> Result<OwnedFd> {
    let failed = |source| Error::Io {
        action: "Listening on",
        path: path.to_owned(),
        source,
    };
    Ok(listen_privately(path).map_err(failed)?.into())
}

//! From a command line to a QEMU that answers.

use std::{
    os::{fd::OwnedFd, unix::net::UnixStream as StdUnixStream},
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

use slog::debug;
use tokio::net::UnixStream;

use super::qmp::{Client, Command, Event, Version};
use crate::{
    Error, Result,
    control::ControlError,
    events::Awaited,
    process::{Process, Start},
};

/// How long QEMU may take from its start to its greeting: 40 ms on an idle machine.
const START_TIMEOUT: Duration = Duration::from_secs(20);
/// How long the end of the process may come after the end of its control connection.
const EXIT_GRACE: Duration = Duration::from_secs(5);

/// A QEMU that answers: its process and its control connection.
#[derive(Debug)]
pub struct Vmm {
    process: Process,
    qmp: Client,
}

impl Vmm {
    /// Starts QEMU with its control connection on standard input: there is no socket to find, to
    /// guard or to remove, the greeting is the sign of life, and the end of one is the end of both.
    /// `tap` becomes its standard output.
    ///
    /// # Errors
    /// QEMU could not be started or did not answer. No process is left.
    pub async fn start(
        binary: &Path,
        arguments: &[String],
        tap: Option<OwnedFd>,
        sockets: Vec<PathBuf>,
        netns: Option<&Path>,
        log: &slog::Logger,
    ) -> Result<(Self, Version)> {
        let failed = |source| Error::Spawn {
            binary: binary.to_owned(),
            source,
        };
        let start = Instant::now();
        let (ours, theirs) = StdUnixStream::pair().map_err(failed)?;
        ours.set_nonblocking(true).map_err(failed)?;
        let ours = UnixStream::from_std(ours).map_err(failed)?;
        let process = Process::spawn(
            Start {
                binary,
                arguments,
                name: None,
                stdin: OwnedFd::from(theirs),
                stdout: tap,
                sockets,
                netns,
            },
            log,
        )?;
        match Client::connect(ours, START_TIMEOUT).await {
            Ok((qmp, version)) => {
                debug!(log, "QEMU answered"; "after" => ?start.elapsed());
                Ok((Self { process, qmp }, version))
            }
            Err(error) => {
                let error = error.explain("its start", &process, EXIT_GRACE).await;
                process.kill().await?;
                Err(error)
            }
        }
    }

    /// The process of QEMU.
    pub fn process(&self) -> &Process {
        &self.process
    }

    /// Starts to wait for the first event that `wanted` accepts. To be called before the command
    /// that leads to it.
    pub fn wait_for(&self, wanted: impl Fn(&Event) -> bool + Send + 'static) -> Awaited<Event> {
        self.qmp.wait_for(wanted)
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
        match self.qmp.event(awaited, what, timeout).await {
            Ok(event) => Ok(event),
            Err(error) => Err(self.explain(error, during).await),
        }
    }

    /// Gives a command and takes its answer.
    pub async fn execute<C: Command>(&self, command: &C) -> Result<C::Reply> {
        self.execute_during(command, C::NAME).await
    }

    /// Gives a command that is part of a larger step, which an error names.
    pub async fn execute_during<C: Command>(
        &self,
        command: &C,
        during: &'static str,
    ) -> Result<C::Reply> {
        match self.qmp.execute(command).await {
            Ok(reply) => Ok(reply),
            Err(error) => Err(self.explain(error, during).await),
        }
    }

    /// Hands `fd` over under `name`.
    pub async fn pass(&self, name: &str, fd: OwnedFd) -> Result<()> {
        let command = super::qmp::command::GetFd { name };
        match self.qmp.execute_with(&command, fd).await {
            Ok(_) => Ok(()),
            Err(error) => Err(self.explain(error, "getfd").await),
        }
    }

    async fn explain(&self, error: ControlError, during: &'static str) -> Error {
        error.explain(during, &self.process, EXIT_GRACE).await
    }
}

//! From a command line to a QEMU that answers.

use std::{
    os::{fd::OwnedFd, unix::net::UnixStream as StdUnixStream},
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

use slog::debug;
use tokio::net::UnixStream;

use super::qmp::{Client, Command, Failure, Version};
use crate::{
    Error, Result, VmExit,
    process::{Process, Start},
};

/// How long QEMU may take from its start to its greeting: 40 ms on an idle machine.
const START_DEADLINE: Duration = Duration::from_secs(20);
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
        match Client::connect(ours, START_DEADLINE).await {
            Ok((qmp, version)) => {
                debug!(log, "VMM answers"; "after" => ?start.elapsed());
                Ok((Self { process, qmp }, version))
            }
            Err(failure) => {
                let error = explain(failure, "its start", &process).await;
                process.kill().await?;
                Err(error)
            }
        }
    }

    /// The process.
    pub fn process(&self) -> &Process {
        &self.process
    }

    /// The control connection, for events.
    pub fn qmp(&self) -> &Client {
        &self.qmp
    }

    /// Gives a command and takes its answer.
    pub async fn execute<C: Command>(&self, command: &C) -> Result<C::Reply> {
        match self.qmp.execute(command).await {
            Ok(reply) => Ok(reply),
            Err(failure) => Err(self.explain(failure, C::NAME).await),
        }
    }

    /// Hands `fd` over under `name`.
    pub async fn pass(&self, name: &str, fd: OwnedFd) -> Result<()> {
        let command = super::qmp::command::GetFd { name };
        match self.qmp.execute_with(&command, fd).await {
            Ok(_) => Ok(()),
            Err(failure) => Err(self.explain(failure, "getfd").await),
        }
    }

    /// Says what a failure means; for a closed connection, how the process ended.
    pub async fn explain(&self, failure: Failure, during: &'static str) -> Error {
        explain(failure, during, &self.process).await
    }
}

async fn explain(failure: Failure, during: &'static str, process: &Process) -> Error {
    match failure {
        Failure::Closed => match process.ended_within(EXIT_GRACE).await {
            Some(VmExit { last_words, .. }) => Error::Exited { during, last_words },
            None => Error::Protocol(format!(
                "QEMU closed its control connection during {during}"
            )),
        },
        Failure::Invalid(what) => Error::Protocol(what),
        Failure::Refused { command, reason } => Error::Refused {
            request: command.to_owned(),
            reason,
        },
        Failure::Timeout { waited_for, waited } => Error::Timeout { waited_for, waited },
    }
}

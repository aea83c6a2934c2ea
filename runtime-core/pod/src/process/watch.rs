//! Watches a started process: first its streams, then its exit status.
//!
//! The agent forgets a process and its output after it has answered `WaitProcess`. So the call is
//! made exactly once, after both output streams have ended. A background child that has the streams
//! open does not delay the exit for long: the agent closes the streams of a process that has ended
//! (the stock agent half a second later).
//!
//! A sink that no client reads stops the streams, and the process that writes. After SIGKILL was
//! sent to such a process, its exit is not delayed any more: if no byte moves for
//! [`STALLED_AFTER`], or some still move after [`KILLED_WITHIN`], the rest of its output is
//! dropped.
//!
//! A guest cannot delay the exit of a killed process either. If it does not report it within
//! [`KILLED_WITHIN`], the process counts as ended.

use std::time::Duration;

use agent_client::{Agent, agent::WaitProcessRequest};
use slog::{Logger, warn};
use system::time::pause;
use tokio::{sync::watch, task::AbortHandle, time::timeout};

use super::{Exit, STATUS_LOST};
use crate::io::{GuestProcess, Input, Outputs};

/// How long the output of a killed process may hang before the rest is dropped.
const STALLED_AFTER: Duration = Duration::from_secs(5);

/// How long a guest may take to end a process after SIGKILL, and to report its exit.
const KILLED_WITHIN: Duration = Duration::from_secs(30);

/// The result of a watch.
#[derive(Debug)]
pub(crate) enum Ended {
    /// The guest reported the exit.
    Reported(Exit),
    /// The process was killed and the guest did not report its exit within [`KILLED_WITHIN`].
    Overdue,
}

/// The parts that are needed to watch a started process.
#[derive(Debug)]
pub(crate) struct Watch {
    pub(crate) agent: Agent,
    pub(crate) process: GuestProcess,
    pub(crate) terminal: bool,
    pub(crate) input: Input,
    pub(crate) outputs: Outputs,
    /// Becomes true when SIGKILL is sent to the process.
    pub(crate) killed: watch::Receiver<bool>,
    pub(crate) log: Logger,
}

/// Stops a task when dropped.
struct Stopping(AbortHandle);

impl Drop for Stopping {
    fn drop(&mut self) {
        self.0.abort();
    }
}

impl Watch {
    /// Moves the streams until they end, then waits for the exit.
    ///
    /// # Errors
    /// The agent or its VM is gone, or the agent does not know the process.
    pub(crate) async fn run(mut self) -> Result<Ended, agent_client::Error> {
        let mut draining = self.outputs.drain(&self.agent, &self.process, &self.log);
        let input = self.input.feed(
            self.agent.clone(),
            self.process.clone(),
            self.terminal,
            self.log.clone(),
        );
        let _input = Stopping(tokio::spawn(input).abort_handle());

        let moved = draining.moved();
        let mut killed = self.killed.clone();
        tokio::select! {
            () = draining.ended() => {}
            () = stalled_after_kill(&mut self.killed, moved) => {
                warn!(self.log, "output of a killed process dropped";
                    "reason" => "no client reads it", "process" => %self.process);
            }
            () = overdue(&mut killed) => {
                warn!(self.log, "output of a killed process dropped";
                    "reason" => "it does not end", "process" => %self.process);
            }
        }
        let request = WaitProcessRequest {
            container_id: self.process.container.clone(),
            exec_id: self.process.exec.clone(),
            ..Default::default()
        };
        tokio::select! {
            status = self.agent.wait_process(request) => {
                Ok(Ended::Reported(Exit::now(u32::try_from(status?).unwrap_or(STATUS_LOST))))
            }
            () = overdue(&mut killed) => Ok(Ended::Overdue),
        }
    }
}

/// Returns [`KILLED_WITHIN`] after SIGKILL was sent to the process.
async fn overdue(killed: &mut watch::Receiver<bool>) {
    if killed.wait_for(|killed| *killed).await.is_err() {
        // The sandbox's task is gone, so no one waits for the result.
        return std::future::pending().await;
    }
    pause("the timeout of what is done meanwhile", KILLED_WITHIN).await;
}

/// Returns if SIGKILL was sent to the process and no byte has moved for [`STALLED_AFTER`].
async fn stalled_after_kill(killed: &mut watch::Receiver<bool>, mut moved: watch::Receiver<u64>) {
    if killed.wait_for(|killed| *killed).await.is_err() {
        // The sandbox's task is gone, so no one waits for the result.
        return;
    }
    while let Ok(Ok(())) = timeout(STALLED_AFTER, moved.changed()).await {}
    // All streams have ended, so they do not hang.
    if moved.has_changed().is_err() {
        std::future::pending().await
    }
}

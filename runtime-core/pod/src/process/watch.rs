//! The watch over a started process: its streams first, then its exit status.
//!
//! The agent forgets a process when it has answered `WaitProcess`, output included, so the call is
//! made exactly once and only when both output streams have ended. A background child that keeps
//! the streams open does not delay the exit for long: the agent ends the streams of a process that
//! is gone (half a second after, in the stock agent).
//!
//! A sink that nobody reads stops the streams, as it stops the process that writes. Once such a
//! process has been sent SIGKILL, its exit is not held back any more: if no byte moves for
//! [`STALLED_AFTER`], or some still move after [`KILLED_WITHIN`], the rest of its output is given up.
//!
//! Nor may a guest hold back the exit of a process that was killed. It has [`KILLED_WITHIN`] to
//! report it; then the process counts as ended, whatever the guest says.

use std::time::Duration;

use agent_client::{Agent, agent::WaitProcessRequest};
use slog::{Logger, warn};
use system::time::pause;
use tokio::{sync::watch, task::AbortHandle, time::timeout};

use super::{Exit, STATUS_LOST};
use crate::io::{GuestProcess, Input, Outputs};

/// How long the output of a killed process may stand still before the rest is given up.
const STALLED_AFTER: Duration = Duration::from_secs(5);

/// How long a guest has to end a process that was sent SIGKILL, and to report its exit once its
/// output has ended.
const KILLED_WITHIN: Duration = Duration::from_secs(30);

/// How a watch came to its end.
#[derive(Debug)]
pub(crate) enum Ended {
    /// The guest reported the exit.
    Reported(Exit),
    /// The process was killed and the guest did not report its exit within [`KILLED_WITHIN`].
    Overdue,
}

/// What the watch over a started process needs.
#[derive(Debug)]
pub(crate) struct Watch {
    pub(crate) agent: Agent,
    pub(crate) process: GuestProcess,
    pub(crate) terminal: bool,
    pub(crate) input: Input,
    pub(crate) outputs: Outputs,
    /// Turns true when the process has been sent SIGKILL.
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
    /// The agent or its VM is gone, or does not know the process.
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
                warn!(self.log, "output of a killed process was given up, nobody reads it";
                    "process" => %self.process);
            }
            () = overdue(&mut killed) => {
                warn!(self.log, "output of a killed process was given up, it does not end";
                    "process" => %self.process);
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

/// Ends [`KILLED_WITHIN`] after the process has been killed.
async fn overdue(killed: &mut watch::Receiver<bool>) {
    if killed.wait_for(|killed| *killed).await.is_err() {
        // The sandbox's task is gone, and with it everybody who could ask.
        return std::future::pending().await;
    }
    pause("the timeout of what is done meanwhile", KILLED_WITHIN).await;
}

/// Ends when the process has been killed and nothing has moved for [`STALLED_AFTER`].
async fn stalled_after_kill(killed: &mut watch::Receiver<bool>, mut moved: watch::Receiver<u64>) {
    if killed.wait_for(|killed| *killed).await.is_err() {
        // The sandbox's task is gone, and with it everybody who could ask.
        return;
    }
    while let Ok(Ok(())) = timeout(STALLED_AFTER, moved.changed()).await {}
    // All streams have ended: not this function's case.
    if moved.has_changed().is_err() {
        std::future::pending().await
    }
}

//! Copies a volume's content to the guest: a thread reads pieces, which are sent to the agent.

use std::time::Duration;

use agent_client::Agent;
use tokio::{sync::mpsc, task::spawn_blocking, time::timeout};

use super::{
    VolumeError,
    tree::{self, Job, Summary},
};

/// Pieces that are read ahead. With the one that is being sent, they are what a transfer needs of
/// memory.
const AHEAD: usize = 2;
/// How often a volume is read if it changes meanwhile.
const ATTEMPTS: u32 = 3;
/// How long copying a whole volume may take.
const TIMEOUT: Duration = Duration::from_secs(60);

/// Copies a volume, again if it changed meanwhile.
pub(super) async fn transfer(agent: &Agent, job: impl Fn() -> Job) -> Result<Summary, VolumeError> {
    let path = job().source.path;
    let attempts = async {
        for _ in 1..ATTEMPTS {
            match once(agent, job()).await {
                Err(VolumeError::Changing { .. }) => {}
                done => return done,
            }
        }
        once(agent, job()).await
    };
    timeout(TIMEOUT, attempts).await.unwrap_or_else(|_| {
        Err(VolumeError::Timeout {
            waited_for: format!("{} to be copied into the guest", path.display()),
            waited: TIMEOUT,
        })
    })
}

async fn once(agent: &Agent, job: Job) -> Result<Summary, VolumeError> {
    let (sender, mut pieces) = mpsc::channel(AHEAD);
    let path = job.source.path.clone();
    let reading =
        spawn_blocking(move || tree::read(&job, &mut |piece| sender.blocking_send(piece).is_ok()));
    while let Some(piece) = pieces.recv().await {
        // The reader ends when the receiver is dropped.
        agent
            .copy_file(piece)
            .await
            .map_err(|source| VolumeError::Agent {
                path: path.clone(),
                source,
            })?;
    }
    reading.await.unwrap_or(Err(VolumeError::Ended { path }))
}

//! Copies the message that a container leaves when it ends from the guest to kubelet's file.

use std::{fs::File, io, os::unix::fs::FileExt, sync::Arc, time::Duration};

use agent_client::{Agent, Code, agent::GetDiagnosticDataRequest};
use slog::{Logger, debug, warn};
use system::error::chain;
use tokio::{task::spawn_blocking, time::timeout};

use super::{VolumeError, source::Source};

/// Longest message, in bytes: kubelet reads no more.
pub(super) const MAX_MESSAGE: usize = 4096;
/// How long the guest may take to answer, which delays the container's exit event.
const TIMEOUT: Duration = Duration::from_secs(2);
/// The agent's name for this kind of data.
const LOG_TYPE: &str = "termination_log";
/// kubelet's annotation with the path of the message in the container.
pub(super) const PATH_ANNOTATION: &str = "io.kubernetes.container.terminationMessagePath";

/// kubelet's file, held open from the container's creation: its path is not looked up again.
#[derive(Debug, Clone)]
pub struct Termination {
    file: Arc<File>,
    path: std::path::PathBuf,
}

impl Termination {
    /// Opens the file at a bind mount's source.
    pub(super) fn open(source: &Source) -> Result<Self, VolumeError> {
        let file = source
            .reopen(true)
            .map_err(VolumeError::io("Opening", &source.path))?;
        Ok(Self {
            file: Arc::new(file),
            path: source.path.clone(),
        })
    }

    /// Copies the message of a container that has ended. Without one, kubelet's file is not
    /// changed. Failures are logged.
    pub async fn write_back(self, agent: &Agent, container: &str, log: &Logger) {
        let request = GetDiagnosticDataRequest {
            log_type: LOG_TYPE.to_owned(),
            container_id: container.to_owned(),
            ..Default::default()
        };
        let message = match timeout(TIMEOUT, agent.get_diagnostic_data(request)).await {
            Ok(Ok(answer)) => last_bytes(answer.data.into_bytes()),
            Ok(Err(agent_client::Error::Rpc {
                code: Code::UNIMPLEMENTED,
                ..
            })) => {
                debug!(log, "termination messages not supported by the agent";
                    "container" => container);
                return;
            }
            Ok(Err(error)) => {
                return warn!(log, "termination message not read";
                    "container" => container, "error" => chain(&error));
            }
            Err(_) => {
                return warn!(log, "termination message timed out";
                    "container" => container, "waited" => ?TIMEOUT);
            }
        };
        if message.is_empty() {
            return;
        }
        let path = self.path.display().to_string();
        let written = spawn_blocking(move || replace(&self.file, &message)).await;
        if let Err(error) = written.unwrap_or_else(|ended| Err(io::Error::other(ended))) {
            warn!(log, "termination message not written";
                "container" => container, "path" => path, "error" => chain(&error));
        }
    }
}

fn replace(file: &File, message: &[u8]) -> io::Result<()> {
    file.set_len(0)?;
    file.write_all_at(message, 0)
}

/// The end of the message, which kubelet shows.
fn last_bytes(mut message: Vec<u8>) -> Vec<u8> {
    message.drain(..message.len().saturating_sub(MAX_MESSAGE));
    message
}

//! The message that a container leaves when it ends, taken from the guest to kubelet's file.

use std::{fs::File, io, os::unix::fs::FileExt, sync::Arc, time::Duration};

use agent_client::{Agent, Code, agent::GetDiagnosticDataRequest};
use slog::{Logger, debug, warn};
use tokio::{task::spawn_blocking, time::timeout};

use super::{VolumeError, look::Source};

/// Longest message, in bytes: what kubelet reads of it.
pub(super) const MAX_MESSAGE: usize = 4096;
/// How long the guest may take to answer. The container's exit is told after that.
const DEADLINE: Duration = Duration::from_secs(2);
/// The agent's name for it.
const LOG_TYPE: &str = "termination_log";
/// Annotation that says where in the container the message is, as kubelet names it.
pub(super) const PATH_ANNOTATION: &str = "io.kubernetes.container.terminationMessagePath";

/// kubelet's file, held open from the container's creation: its path is not looked up again.
#[derive(Debug, Clone)]
pub struct Termination {
    file: Arc<File>,
    path: std::path::PathBuf,
}

impl Termination {
    /// The file at a bind mount's source.
    pub(super) fn of(source: &Source) -> Result<Self, VolumeError> {
        let file = source
            .reopen(true)
            .map_err(VolumeError::io("Opening", &source.path))?;
        Ok(Self {
            file: Arc::new(file),
            path: source.path.clone(),
        })
    }

    /// Takes the message of a container that has ended. Without one, kubelet's file stays as it is.
    pub async fn write_back(self, agent: &Agent, container: &str, log: &Logger) {
        let request = GetDiagnosticDataRequest {
            log_type: LOG_TYPE.to_owned(),
            container_id: container.to_owned(),
            ..Default::default()
        };
        let message = match timeout(DEADLINE, agent.get_diagnostic_data(request)).await {
            Ok(Ok(answer)) => last_bytes(answer.data.into_bytes()),
            Ok(Err(agent_client::Error::Rpc {
                code: Code::UNIMPLEMENTED,
                ..
            })) => {
                debug!(log, "agent cannot give termination messages"; "container" => container);
                return;
            }
            Ok(Err(error)) => {
                return warn!(log, "termination message stays in the guest";
                    "container" => container, "error" => %error);
            }
            Err(_) => {
                return warn!(log, "termination message did not come in time";
                    "container" => container, "waited" => ?DEADLINE);
            }
        };
        if message.is_empty() {
            return;
        }
        let path = self.path.display().to_string();
        let written = spawn_blocking(move || replace(&self.file, &message)).await;
        if let Err(error) = written.unwrap_or_else(|ended| Err(io::Error::other(ended))) {
            warn!(log, "termination message was not written";
                "container" => container, "path" => path, "error" => %error);
        }
    }
}

fn replace(file: &File, message: &[u8]) -> io::Result<()> {
    file.set_len(0)?;
    file.write_all_at(message, 0)
}

/// The end of a message is what kubelet shows.
fn last_bytes(mut message: Vec<u8>) -> Vec<u8> {
    message.drain(..message.len().saturating_sub(MAX_MESSAGE));
    message
}

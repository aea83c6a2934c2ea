//! The typed client.

mod call;
mod calls;
mod streams;

use std::{sync::Arc, time::Duration};

use tokio::{
    io::{AsyncRead, AsyncWrite},
    sync::{OnceCell, watch},
};
use ttrpc::asynchronous::{Client, transport::Socket};

use crate::{
    Channel, Error, FINDS_PRESENT_DEVICES, JOINS_PID_NAMESPACES, agent,
    error::Result,
    frames::{Fate, Frames},
    health,
};
use call::{Class, HEALTH, Method, Reply};

/// How long the agent may take to answer.
///
/// Calls that wait for a process (`wait_process`, `read_stdout`, `read_stderr`, `write_stdin`) or
/// for an event (`get_oom_event`) have no deadline. They end with the connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Deadlines {
    /// For `check` and `version`, which find out whether the agent runs.
    pub check: Duration,
    /// For `create_container`, which mounts, and waits for devices to appear.
    pub create_container: Duration,
    /// For all other calls that have one.
    pub other: Duration,
}

impl Default for Deadlines {
    /// As with Kata's runtimes: 30 s for `check`, 60 s for the others.
    fn default() -> Self {
        Self {
            check: Duration::from_secs(30),
            create_container: Duration::from_secs(60),
            other: Duration::from_secs(60),
        }
    }
}

/// A connection to a guest's agent. Clones share it, and calls may be made at the same time.
///
/// The future of a call may be dropped: the request is sent all the same, and its answer is
/// discarded. When the last clone is dropped, calls in progress are cancelled and the connection is
/// closed. When the connection ends, all calls in progress fail with [`Error::Disconnected`]; it is
/// not opened again.
#[derive(Clone)]
pub struct Agent {
    client: Client,
    fate: Fate,
    deadlines: Deadlines,
    /// Dropped with the last clone, which cancels the calls in progress.
    open: Arc<watch::Sender<()>>,
    features: Arc<OnceCell<Vec<String>>>,
}

impl std::fmt::Debug for Agent {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Agent")
            .field("fate", &self.fate)
            .field("deadlines", &self.deadlines)
            .finish_non_exhaustive()
    }
}

impl Agent {
    /// Connects, and waits until the guest is up.
    ///
    /// On a serial port the agent has then answered; on vsock it has accepted the connection.
    ///
    /// # Errors
    ///
    /// [`Error::Timeout`] after `deadline`; [`Error::Connect`] when waiting longer cannot help.
    pub async fn connect(channel: &Channel, deadline: Duration) -> Result<Self> {
        Ok(Self::over(channel.open(deadline).await?))
    }

    /// Uses a stream that is connected to an agent already.
    ///
    /// # Panics
    ///
    /// Outside of a tokio runtime.
    pub fn over(stream: impl AsyncRead + AsyncWrite + Send + Sync + Unpin + 'static) -> Self {
        let (frames, fate) = Frames::new(stream);
        let (open, _) = watch::channel(());
        Self {
            client: Client::new(Socket::new(frames)),
            fate,
            deadlines: Deadlines::default(),
            open: Arc::new(open),
            features: Arc::default(),
        }
    }

    /// The same connection with other deadlines.
    #[must_use]
    pub fn with_deadlines(mut self, deadlines: Deadlines) -> Self {
        self.deadlines = deadlines;
        self
    }

    /// Waits until the connection has ended, whichever side has closed it.
    pub async fn disconnected(&self) {
        self.fate.ended().await;
    }

    /// Whether the agent has the feature [`FINDS_PRESENT_DEVICES`].
    ///
    /// The features are asked for once. `false` if the agent does not answer; the next call asks
    /// again.
    pub async fn finds_present_devices(&self) -> bool {
        self.has_feature(FINDS_PRESENT_DEVICES).await
    }

    /// Whether the agent has the feature [`JOINS_PID_NAMESPACES`]; like
    /// [`Agent::finds_present_devices`].
    pub async fn joins_pid_namespaces(&self) -> bool {
        self.has_feature(JOINS_PID_NAMESPACES).await
    }

    async fn has_feature(&self, name: &str) -> bool {
        let ask = async || {
            let details = self.get_guest_details(Default::default()).await?;
            let details = details.agent_details.into_option();
            Ok::<_, Error>(details.unwrap_or_default().extra_features)
        };
        let features = self.features.get_or_try_init(ask).await;
        features.is_ok_and(|features| features.iter().any(|feature| feature == name))
    }

    /// Checks that the agent serves.
    ///
    /// # Errors
    ///
    /// [`Error::InvalidReply`] when the agent reports that it does not serve; else as for every
    /// call.
    pub async fn check(&self) -> Result<()> {
        use health::health_check_response::ServingStatus;

        let method = Method::new(HEALTH, "Check", Class::Check, Reply::Structured);
        let request = health::CheckRequest::new();
        let reply: health::HealthCheckResponse = self.call(&method, &request).await?;
        match reply.status.enum_value() {
            Ok(ServingStatus::SERVING) => Ok(()),
            other => Err(Error::InvalidReply {
                call: method.name,
                reason: format!("Agent reports {other:?} instead of SERVING"),
            }),
        }
    }

    /// Reads the versions of the protocol and of the agent.
    ///
    /// # Errors
    ///
    /// See [`Error`].
    pub async fn version(&self) -> Result<health::VersionCheckResponse> {
        let method = Method::new(HEALTH, "Version", Class::Check, Reply::Structured);
        self.call(&method, &health::CheckRequest::new()).await
    }

    /// Creates a container. Its first process waits for `start_container`. The pod's sandbox
    /// container has to be created first.
    ///
    /// # Errors
    ///
    /// See [`Error`].
    pub async fn create_container(&self, request: agent::CreateContainerRequest) -> Result<()> {
        let method = Method::agent("CreateContainer", Class::CreateContainer, Reply::Structured);
        self.call_unit(&method, &request).await
    }
}

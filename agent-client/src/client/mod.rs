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

/// How long an answer may take.
///
/// Calls that wait for a process (`wait_process`, `read_stdout`, `read_stderr`, `write_stdin`) or
/// for an event (`get_oom_event`) have no limit; they end with the connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Deadlines {
    /// `check` and `version`.
    pub check: Duration,
    /// `create_container`, which mounts, and waits for devices to appear.
    pub create_container: Duration,
    /// All others.
    pub other: Duration,
}

impl Default for Deadlines {
    /// Those of Kata's runtimes: 30 s to check, 60 s for the rest.
    fn default() -> Self {
        Self {
            check: Duration::from_secs(30),
            create_container: Duration::from_secs(60),
            other: Duration::from_secs(60),
        }
    }
}

/// A connection to a guest's agent. Clones share it; calls may be made at once.
///
/// The future of a call may be dropped: the request is sent nevertheless, and its answer thrown
/// away. When the last clone is dropped, calls in progress are given up and the connection closes.
/// When the connection ends, all calls in progress fail with [`Error::Disconnected`]; it does not
/// come back.
#[derive(Clone)]
pub struct Agent {
    client: Client,
    fate: Fate,
    deadlines: Deadlines,
    /// Tells by being dropped, with its last clone, that nobody wants an answer any more.
    wanted: Arc<watch::Sender<()>>,
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
    /// On a serial port the agent has then answered; on a vsock it has accepted the connection.
    ///
    /// # Errors
    ///
    /// [`Error::Timeout`] after `deadline`; [`Error::Connect`] when waiting is of no use.
    pub async fn connect(channel: &Channel, deadline: Duration) -> Result<Self> {
        Ok(Self::over(channel.open(deadline).await?))
    }

    /// Uses a connection that already is one to an agent.
    ///
    /// # Panics
    ///
    /// Outside of a tokio runtime.
    pub fn over(stream: impl AsyncRead + AsyncWrite + Send + Sync + Unpin + 'static) -> Self {
        let (frames, fate) = Frames::new(stream);
        let (wanted, _) = watch::channel(());
        Self {
            client: Client::new(Socket::new(frames)),
            fate,
            deadlines: Deadlines::default(),
            wanted: Arc::new(wanted),
            features: Arc::default(),
        }
    }

    /// The same connection with other deadlines.
    #[must_use]
    pub fn with_deadlines(mut self, deadlines: Deadlines) -> Self {
        self.deadlines = deadlines;
        self
    }

    /// Waits until the connection has ended, from whichever side.
    pub async fn disconnected(&self) {
        self.fate.ended().await;
    }

    /// Whether the agent says that it finds devices which were there before it
    /// ([`FINDS_PRESENT_DEVICES`]). It is asked until it answers; one that does not answer does not.
    pub async fn finds_present_devices(&self) -> bool {
        self.has_feature(FINDS_PRESENT_DEVICES).await
    }

    /// Whether the agent says that a container can join the process namespace of another
    /// ([`JOINS_PID_NAMESPACES`]).
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

    /// Asks whether the agent serves.
    ///
    /// # Errors
    ///
    /// Those of a call; [`Error::InvalidReply`] when it says that it does not serve.
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

    /// Asks for the versions of protocol and agent.
    ///
    /// # Errors
    ///
    /// Those of a call.
    pub async fn version(&self) -> Result<health::VersionCheckResponse> {
        let method = Method::new(HEALTH, "Version", Class::Check, Reply::Structured);
        self.call(&method, &health::CheckRequest::new()).await
    }

    /// Makes a container, its first process stopped. Call it for the pod's own container first.
    ///
    /// # Errors
    ///
    /// Those of a call.
    pub async fn create_container(&self, request: agent::CreateContainerRequest) -> Result<()> {
        let method = Method::agent("CreateContainer", Class::CreateContainer, Reply::Structured);
        self.call_unit(&method, &request).await
    }
}

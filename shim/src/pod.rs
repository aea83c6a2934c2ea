//! The pod that a shim serves, with what containerd's side has of it: events, management socket,
//! and the end that the sandbox API waits for.

use std::{
    ops::Deref,
    sync::{Arc, atomic::AtomicBool},
};

use assembly::{ContainerRequest, Host, Launch, Pids, Pod, PodRequest};
use pod::{
    process::{Exit, STATUS_KILLED, STATUS_LOST},
    sandbox::{EVENTS, Sandbox},
};
use slog::{Logger, warn};
use tokio::{
    sync::{Mutex, mpsc, watch},
    task::JoinHandle,
};

use crate::{
    error::Error,
    management::{Management, Metrics},
    publisher::{self, Destination},
};

/// The pod as several tasks hold it.
pub type SharedPod = Arc<ServedPod>;

/// A pod that is served.
pub struct ServedPod {
    pod: Pod,
    /// The sandbox's end, where the sandbox API made it. Then it has no main container.
    over: Option<watch::Receiver<Option<Exit>>>,
    /// Sends its events; ends when the sandbox's task has.
    publishing: Mutex<Option<JoinHandle<()>>>,
    _management: Option<Management>,
}

/// What the daemon has for each pod it opens.
pub struct Daemon<'a> {
    /// What starts the pod's VM.
    pub launch: &'a dyn Launch,
    /// containerd's namespace, for events.
    pub namespace: &'a str,
    /// Is set where a pod's configuration asks for debug messages.
    pub debug: &'a AtomicBool,
    /// The log of the daemon.
    pub log: &'a Logger,
}

impl ServedPod {
    /// Opens a pod, which comes with its `first` container or is made by the sandbox API.
    ///
    /// # Errors
    /// Nothing of the pod is left, or the log says what is.
    pub async fn open(
        request: PodRequest,
        first: Option<ContainerRequest>,
        daemon: Daemon<'_>,
    ) -> Result<Self, Error> {
        let is_sandbox = first.is_none();
        let pids = Arc::new(Pids::new(request.id(), daemon.log));
        let (events, queue) = mpsc::channel(EVENTS);
        let destination = Destination {
            namespace: daemon.namespace.to_owned(),
            pids: pids.clone(),
        };
        let publishing = publisher::publish(destination, queue, daemon.log.clone());
        let host = Host {
            launch: daemon.launch,
            events,
            pids,
            debug: daemon.debug,
            log: daemon.log,
        };
        let pod = Pod::open(request, first, host).await?;
        Ok(Self {
            over: is_sandbox.then(|| end_of(&pod.sandbox)),
            publishing: Mutex::new(Some(publishing)),
            _management: manage(&pod, daemon.log),
            pod,
        })
    }

    /// Whether the sandbox API made it.
    pub fn is_sandbox(&self) -> bool {
        self.over.is_some()
    }

    /// How the sandbox ended, if it has.
    pub fn exit(&self) -> Option<Exit> {
        self.over.as_ref().and_then(|over| *over.borrow())
    }

    /// Waits for the sandbox's end.
    pub async fn exited(&self) -> Exit {
        let exit = match self.over.clone() {
            Some(mut over) => over.wait_for(Option::is_some).await.ok().and_then(|e| *e),
            None => None,
        };
        exit.unwrap_or_else(|| Exit::now(STATUS_LOST))
    }

    /// Takes the task that sends the pod's events, to wait for its end once the pod is let go.
    pub async fn take_publishing(&self) -> Option<JoinHandle<()>> {
        self.publishing.lock().await.take()
    }
}

impl Deref for ServedPod {
    type Target = Pod;

    fn deref(&self) -> &Pod {
        &self.pod
    }
}

/// Watches over a sandbox without a main container. It ends when it is asked to, or with its VM.
fn end_of(sandbox: &Sandbox) -> watch::Receiver<Option<Exit>> {
    let (sender, over) = watch::channel(None);
    let sandbox = sandbox.clone();
    tokio::spawn(async move {
        sandbox.ended().await;
        sender.send_replace(Some(Exit::now(STATUS_KILLED)));
    });
    over
}

/// Serves the pod's metrics. The pod does not depend on it.
fn manage(pod: &Pod, log: &Logger) -> Option<Management> {
    let report = pod.start_report();
    let metrics = Metrics::of_start(report, pod.disk_counts(), pod.sandbox.pid());
    let served = Management::serve(pod.directory(), metrics, report, log);
    served
        .inspect_err(|error| warn!(log, "management socket was not made"; "error" => %error))
        .ok()
}

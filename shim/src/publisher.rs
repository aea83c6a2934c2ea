//! Tells containerd what happened, in order, also across a restart of containerd.
//!
//! Events are sent one by one; one that containerd did not take is sent again before the next, so
//! their order holds and one may arrive twice. Requests never wait for this.

use std::{
    collections::HashMap,
    env,
    fs::OpenOptions,
    io,
    os::unix::fs::OpenOptionsExt,
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use assembly::Pids;
use containerd_shim_protos::{
    protobuf::MessageDyn,
    shim::{event::Envelope, events::ForwardRequest},
    shim_async::{Client, EventsClient},
    ttrpc::{self, context},
};
use futures::StreamExt;
use inotify::{Inotify, WatchMask};
use pod::sandbox::Event;
use slog::{Logger, debug, warn};
use system::time::pause;
use tokio::{sync::mpsc, task::JoinHandle, time::timeout};

use crate::events;

/// How long containerd may take for one event.
const TAKE: Duration = Duration::from_secs(5);

/// How long a new socket of containerd is waited for before connecting is tried anyway.
const COMEBACK: Duration = Duration::from_secs(30);

/// The pause after an event that containerd did not take; doubled each time, up to the longest.
const FIRST_PAUSE: Duration = Duration::from_millis(100);
const LONGEST_PAUSE: Duration = Duration::from_secs(10);

/// Where events go and what they carry.
pub struct Destination {
    /// containerd's namespace, as each event names it.
    pub namespace: String,
    /// The numbers that stand for containers.
    pub pids: Arc<Pids>,
}

/// Sends what arrives until every sender is gone. Without an address, as under CRI-O, events are
/// only logged; that memory ran out, CRI-O learns from a file in the container's bundle.
pub fn publish(
    destination: Destination,
    mut queue: mpsc::Receiver<Event>,
    log: Logger,
) -> JoinHandle<()> {
    let mut connection = Connection::to(env::var("TTRPC_ADDRESS").ok());
    let mut bundles = Bundles::default();
    tokio::spawn(async move {
        while let Some(event) = queue.recv().await {
            if connection.socket.is_none() {
                bundles.note(&event, &log);
            }
            let over = matches!(event, Event::Deleted { .. });
            let container = events::container(&event).to_owned();
            let (topic, message) = events::message(event, destination.pids.of(&container));
            if over {
                destination.pids.end(&container);
            }
            match envelope(topic, &destination.namespace, &*message) {
                Ok(envelope) => connection.send(envelope, &log).await,
                Err(error) => warn!(log, "event cannot be encoded"; "error" => %error),
            }
        }
    })
}

/// Where the containers' bundles are.
#[derive(Default)]
struct Bundles(HashMap<String, PathBuf>);

impl Bundles {
    fn note(&mut self, event: &Event, log: &Logger) {
        match event {
            Event::Created {
                container, bundle, ..
            } => drop(self.0.insert(container.clone(), bundle.clone())),
            Event::Deleted { container, .. } => drop(self.0.remove(container)),
            Event::OutOfMemory(container) => {
                let left = self
                    .0
                    .get(container)
                    .map(|bundle| leave_out_of_memory(bundle));
                if let Some(Err(error)) = left {
                    warn!(log, "out-of-memory file was not written";
                        "container" => container, "error" => %error);
                }
            }
            _ => {}
        }
    }
}

/// Leaves the file that CRI-O looks for, unless there is one of that name.
fn leave_out_of_memory(bundle: &Path) -> io::Result<()> {
    let made = OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o644)
        .open(bundle.join("oom"));
    match made {
        Err(error) if error.kind() != io::ErrorKind::AlreadyExists => Err(error),
        _ => Ok(()),
    }
}

fn envelope(
    topic: &str,
    namespace: &str,
    message: &dyn MessageDyn,
) -> containerd_shim_protos::protobuf::Result<Envelope> {
    Ok(Envelope {
        timestamp: Some(events::timestamp(std::time::SystemTime::now())).into(),
        namespace: namespace.to_owned(),
        topic: topic.to_owned(),
        event: Some(events::any(message)?).into(),
        ..Default::default()
    })
}

struct Connection {
    /// Path of containerd's ttrpc socket.
    socket: Option<PathBuf>,
    client: Option<EventsClient>,
}

impl Connection {
    fn to(address: Option<String>) -> Self {
        let socket = address.map(|a| PathBuf::from(a.strip_prefix("unix://").unwrap_or(&a)));
        Self {
            socket,
            client: None,
        }
    }

    /// Sends one event, over as many connections as it takes.
    async fn send(&mut self, envelope: Envelope, log: &Logger) {
        let topic = envelope.topic.clone();
        debug!(log, "sending event"; "topic" => &topic);
        let Some(socket) = self.socket.clone() else {
            return;
        };
        let request = ForwardRequest {
            envelope: Some(envelope).into(),
            ..Default::default()
        };
        let mut next = FIRST_PAUSE;
        loop {
            if self.client.is_none() {
                self.client = connect(&socket).await;
            }
            let Some(client) = &self.client else {
                came_back(&socket).await;
                continue;
            };
            match client.forward(context::with_duration(TAKE), &request).await {
                Ok(_) => return,
                Err(ttrpc::Error::RpcStatus(status))
                    if status.code() != ttrpc::Code::DEADLINE_EXCEEDED =>
                {
                    warn!(log, "containerd refused an event";
                        "topic" => &topic, "reason" => status.message());
                    return;
                }
                Err(error) => {
                    warn!(log, "containerd did not take an event, it is sent again";
                        "topic" => &topic, "error" => %error);
                    self.client = None;
                    pause("containerd does not say when it takes events again", next).await;
                    next = (next * 2).min(LONGEST_PAUSE);
                }
            }
        }
    }
}

async fn connect(socket: &std::path::Path) -> Option<EventsClient> {
    let address = format!("unix://{}", socket.display());
    let client = timeout(TAKE, Client::connect(&address)).await.ok()?.ok()?;
    Some(EventsClient::new(client))
}

/// Waits until something named like containerd's socket appears beside where it was.
async fn came_back(socket: &std::path::Path) {
    let appeared = async {
        let (Some(directory), Some(name)) = (socket.parent(), socket.file_name()) else {
            return;
        };
        let Ok(inotify) = Inotify::init() else {
            return std::future::pending().await;
        };
        let watched = inotify
            .watches()
            .add(directory, WatchMask::CREATE | WatchMask::MOVED_TO);
        if watched.is_err() || connect(socket).await.is_some() {
            // It came back before the watch was set; or cannot be watched for.
            return if watched.is_err() {
                std::future::pending().await
            };
        }
        let Ok(mut stream) = inotify.into_event_stream([0; 1024]) else {
            return std::future::pending().await;
        };
        while let Some(Ok(event)) = stream.next().await {
            if event.name.as_deref() == Some(name) {
                return;
            }
        }
    };
    let _ = timeout(COMEBACK, appeared).await;
}

#[cfg(test)]
mod tests {
    use pod::{io::Stdio, process::Exit};
    use slog::{Discard, o};

    use super::*;

    #[test]
    fn a_file_tells_cri_o_that_memory_ran_out() {
        let dir = tempfile::tempdir().unwrap();
        let log = Logger::root(Discard, o!());
        let mut bundles = Bundles::default();
        let out = Event::OutOfMemory("one".into());
        bundles.note(&out, &log);
        assert!(!dir.path().join("oom").exists());
        let created = Event::Created {
            container: "one".into(),
            bundle: dir.path().to_owned(),
            mounts: vec![],
            stdio: Stdio::default(),
        };
        bundles.note(&created, &log);
        bundles.note(&out, &log);
        bundles.note(&out, &log);
        assert!(dir.path().join("oom").exists());
        let deleted = Event::Deleted {
            container: "one".into(),
            exit: Exit::now(0),
        };
        bundles.note(&deleted, &log);
        assert!(bundles.0.is_empty());
    }
}

//! One connection to QEMU: commands out, replies and events in, both ends of it noticed.

use std::{
    collections::HashMap,
    os::fd::OwnedFd,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use serde_json::{Value, json};
use system::sync::{Mutex, MutexGuard};
use tokio::{
    io::BufReader,
    net::{UnixStream, unix::OwnedReadHalf, unix::OwnedWriteHalf},
    sync::{mpsc, oneshot},
    task::JoinHandle,
    time,
};

use crate::{
    control::ControlError,
    events::{Awaited, NoEvent, Waiters},
};

use super::{
    Command, Event, Version,
    command::{Empty, QmpCapabilities},
    line::read_line,
    message::{Message, parse},
    wire,
};

/// The longest line taken from QEMU. The longest answer this crate asks for has some 10 KiB.
const LINE_LIMIT: usize = 1 << 20;

/// A connection on which commands can be given.
#[derive(Debug)]
pub struct Client {
    shared: Arc<Shared>,
    outgoing: mpsc::Sender<Outgoing>,
    next_id: AtomicU64,
    tasks: [JoinHandle<()>; 2],
}

#[derive(Debug)]
struct Outgoing {
    line: Vec<u8>,
    fd: Option<OwnedFd>,
}

#[derive(Debug, Default)]
struct Shared(Mutex<State>);

#[derive(Default)]
struct State {
    greeting: Option<oneshot::Sender<Version>>,
    pending: HashMap<u64, oneshot::Sender<Result<Value, String>>>,
    events: Waiters<Event>,
    closed: Option<ControlError>,
}

impl Client {
    /// Takes QEMU's greeting on `stream` and ends the negotiation.
    ///
    /// # Errors
    /// No greeting within `timeout`, or something else than QEMU at the other end.
    pub async fn connect(
        stream: UnixStream,
        timeout: Duration,
    ) -> Result<(Self, Version), ControlError> {
        let (greeting, greeted) = oneshot::channel();
        let shared = Arc::new(Shared::default());
        shared.lock().greeting = Some(greeting);
        let (read, write) = stream.into_split();
        let (outgoing, lines) = mpsc::channel(16);
        let tasks = [
            tokio::spawn(receive(read, Arc::clone(&shared))),
            tokio::spawn(transmit(write, lines, Arc::clone(&shared))),
        ];
        let client = Self {
            shared,
            outgoing,
            next_id: AtomicU64::new(0),
            tasks,
        };
        let version = client
            .shared
            .answer(greeted, "QEMU's greeting", timeout)
            .await?;
        let _: Empty = client.execute(&QmpCapabilities {}).await?;
        Ok((client, version))
    }

    /// Gives a command and takes its answer.
    pub async fn execute<C: Command>(&self, command: &C) -> Result<C::Reply, ControlError> {
        self.exchange(command, None).await
    }

    /// Gives a command that takes a descriptor along.
    pub async fn execute_with<C: Command>(
        &self,
        command: &C,
        fd: OwnedFd,
    ) -> Result<C::Reply, ControlError> {
        self.exchange(command, Some(fd)).await
    }

    /// Starts to wait for the first event that `wanted` accepts. To be called before the command
    /// that leads to it.
    pub fn wait_for(&self, wanted: impl Fn(&Event) -> bool + Send + 'static) -> Awaited<Event> {
        self.shared.lock().events.wait_for(wanted)
    }

    /// The event, if it comes within `timeout`. An error names it as `what`.
    pub async fn event(
        &self,
        awaited: Awaited<Event>,
        what: &str,
        timeout: Duration,
    ) -> Result<Event, ControlError> {
        awaited.within(timeout).await.map_err(|why| {
            let closed = self.shared.lock().closed.clone();
            match (why, closed) {
                (NoEvent::Ended, Some(reason)) => reason,
                _ => ControlError::no_event(why, what, timeout),
            }
        })
    }

    async fn exchange<C: Command>(
        &self,
        command: &C,
        fd: Option<OwnedFd>,
    ) -> Result<C::Reply, ControlError> {
        let id = self.next_id.fetch_add(1, Ordering::Relaxed);
        let mut message = json!({ "execute": C::NAME, "id": id });
        let arguments = serde_json::to_value(command).map_err(|error| invalid(C::NAME, &error))?;
        if arguments
            .as_object()
            .is_some_and(|object| !object.is_empty())
        {
            message["arguments"] = arguments;
        }
        let replied = self.shared.pend(id)?;
        let _forget = Forget {
            id,
            shared: &self.shared,
        };
        let line = format!("{message}\n").into_bytes();
        let talk = async {
            // The only failure is that the transmitting task has ended, which also ends `replied`.
            let _ = self.outgoing.send(Outgoing { line, fd }).await;
            replied.await
        };
        let what = format!("QEMU's answer to {}", C::NAME);
        match self.shared.answer(talk, &what, C::TIMEOUT).await? {
            Ok(value) => serde_json::from_value(value).map_err(|error| invalid(C::NAME, &error)),
            Err(reason) => Err(ControlError::Refused {
                request: C::NAME,
                reason,
            }),
        }
    }
}

impl Drop for Client {
    fn drop(&mut self) {
        self.tasks.iter().for_each(JoinHandle::abort);
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.0.lock()
    }

    /// Ends every wait, now and later, with the first reason given.
    fn close(&self, reason: ControlError) {
        let mut state = self.lock();
        state.closed.get_or_insert(reason);
        state.greeting = None;
        state.pending.clear();
        state.events.end();
    }

    async fn answer<T>(
        &self,
        answer: impl Future<Output = Result<T, oneshot::error::RecvError>>,
        what: &str,
        timeout: Duration,
    ) -> Result<T, ControlError> {
        match time::timeout(timeout, answer).await {
            Ok(Ok(answer)) => Ok(answer),
            Ok(Err(_)) => Err(self.lock().closed.clone().unwrap_or_else(closed)),
            Err(_) => Err(ControlError::Timeout {
                waited_for: what.to_owned(),
                waited: timeout,
            }),
        }
    }

    fn pend(&self, id: u64) -> Result<oneshot::Receiver<Result<Value, String>>, ControlError> {
        let mut state = self.lock();
        if let Some(reason) = &state.closed {
            return Err(reason.clone());
        }
        let (reply, replied) = oneshot::channel();
        state.pending.insert(id, reply);
        Ok(replied)
    }

    fn take(&self, message: Message) -> Result<(), ControlError> {
        let mut state = self.lock();
        match message {
            Message::Greeting(version) => match state.greeting.take() {
                Some(tell) => drop(tell.send(version)),
                None => return Err(ControlError::Invalid(String::from("a second greeting"))),
            },
            // A reply that came too late is not waited for any more.
            Message::Reply {
                id: Some(id),
                outcome,
            } => {
                if let Some(tell) = state.pending.remove(&id) {
                    drop(tell.send(outcome));
                }
            }
            Message::Reply { id: None, outcome } => {
                let words = outcome.err().unwrap_or_default();
                return Err(ControlError::Invalid(format!(
                    "a reply without a number: {words}"
                )));
            }
            Message::Event(event) => state.events.deliver(&event),
        }
        Ok(())
    }
}

impl std::fmt::Debug for State {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("State")
            .field("closed", &self.closed)
            .finish_non_exhaustive()
    }
}

/// Removes a command from the pending ones, also when its caller goes away.
struct Forget<'a> {
    id: u64,
    shared: &'a Shared,
}

impl Drop for Forget<'_> {
    fn drop(&mut self) {
        self.shared.lock().pending.remove(&self.id);
    }
}

fn closed() -> ControlError {
    ControlError::Closed(String::from("QEMU closed its control connection"))
}

fn invalid(command: &str, error: &serde_json::Error) -> ControlError {
    ControlError::Invalid(format!("the value of {command}: {error}"))
}

async fn receive(read: OwnedReadHalf, shared: Arc<Shared>) {
    let mut reader = BufReader::new(read);
    let reason = loop {
        match read_line(&mut reader, LINE_LIMIT).await {
            Ok(Some(line)) if line.is_empty() => {}
            Ok(Some(line)) => {
                if let Err(reason) = parse(&line)
                    .map_err(ControlError::Invalid)
                    .and_then(|m| shared.take(m))
                {
                    break reason;
                }
            }
            Ok(None) => break closed(),
            Err(error) if error.kind() == std::io::ErrorKind::InvalidData => {
                break ControlError::Invalid(error.to_string());
            }
            Err(_) => break closed(),
        }
    };
    shared.close(reason);
}

/// A task of its own writes, so that a caller that goes away leaves no half command behind.
async fn transmit(write: OwnedWriteHalf, mut lines: mpsc::Receiver<Outgoing>, shared: Arc<Shared>) {
    while let Some(Outgoing { line, fd }) = lines.recv().await {
        if wire::send(&write, &line, fd.as_ref()).await.is_err() {
            shared.close(closed());
            return;
        }
    }
}

#[cfg(test)]
mod tests;

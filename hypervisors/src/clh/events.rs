//! What the monitor tells of itself while it works: JSON objects with an empty line behind each.

use std::{collections::HashMap, sync::Arc, time::Duration};

use serde::Deserialize;
use slog::{debug, warn};
use system::sync::{Mutex, MutexGuard};
use tokio::{
    io::{AsyncRead, AsyncReadExt},
    sync::oneshot,
    time::timeout,
};

/// The longest event that is taken; one has some 150 bytes.
const EVENT_LIMIT: usize = 64 << 10;

/// Something that happened.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct Event {
    /// `vm`, `vmm`, `virtio-device`, `guest`.
    pub source: String,
    /// What happened there.
    pub event: String,
    /// To what.
    #[serde(default)]
    pub properties: Option<HashMap<String, String>>,
}

impl Event {
    /// Whether it is this one.
    pub fn is(&self, source: &str, event: &str) -> bool {
        self.source == source && self.event == event
    }

    /// A property.
    pub fn text(&self, name: &str) -> Option<&str> {
        self.properties.as_ref()?.get(name).map(String::as_str)
    }
}

/// The events of one monitor.
#[derive(Debug, Clone, Default)]
pub struct Events(Arc<Mutex<State>>);

#[derive(Default)]
struct State {
    waiters: Vec<Waiter>,
    ended: bool,
}

struct Waiter {
    wanted: Box<dyn Fn(&Event) -> bool + Send>,
    tell: oneshot::Sender<Event>,
}

/// An event that is waited for from the moment this was made.
#[derive(Debug)]
pub struct Expected(oneshot::Receiver<Event>);

/// Why an event did not come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Missed {
    /// The monitor tells nothing any more.
    Ended,
    /// Not in time.
    Late,
}

impl Events {
    /// Takes all that `from` tells, to its end.
    pub async fn listen(self, mut from: impl AsyncRead + Unpin, log: slog::Logger) {
        let mut unread = Vec::new();
        while let Ok(length @ 1..) = from.read_buf(&mut unread).await {
            for event in take(&mut unread, length, &log) {
                debug!(log, "monitor event"; "source" => &event.source, "event" => &event.event);
                self.lock().route(&event);
            }
            if unread.len() > EVENT_LIMIT {
                warn!(
                    log,
                    "monitor sent an endless event; its events are not heard any more"
                );
                break;
            }
        }
        let mut state = self.lock();
        state.ended = true;
        state.waiters.clear();
    }

    /// Starts to wait for the first event that `wanted` accepts. To be called before the call that
    /// leads to it.
    pub fn expect(&self, wanted: impl Fn(&Event) -> bool + Send + 'static) -> Expected {
        let (tell, event) = oneshot::channel();
        let mut state = self.lock();
        if !state.ended {
            let wanted = Box::new(wanted);
            state.waiters.push(Waiter { wanted, tell });
        }
        Expected(event)
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.0.lock()
    }
}

impl Expected {
    /// The event, if it comes within `deadline`.
    pub async fn within(self, deadline: Duration) -> Result<Event, Missed> {
        match timeout(deadline, self.0).await {
            Ok(Ok(event)) => Ok(event),
            Ok(Err(_)) => Err(Missed::Ended),
            Err(_) => Err(Missed::Late),
        }
    }

    /// The event, however long it takes; `None` when there will be none any more.
    pub async fn ever(self) -> Option<Event> {
        self.0.await.ok()
    }
}

impl State {
    fn route(&mut self, event: &Event) {
        for waiter in std::mem::take(&mut self.waiters) {
            if waiter.tell.is_closed() {
                continue;
            }
            if (waiter.wanted)(event) {
                drop(waiter.tell.send(event.clone()));
            } else {
                self.waiters.push(waiter);
            }
        }
    }
}

impl std::fmt::Debug for State {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("State")
            .field("ended", &self.ended)
            .finish_non_exhaustive()
    }
}

/// Takes the whole events out of `unread`, whose last `new` bytes have not been looked at.
fn take(unread: &mut Vec<u8>, new: usize, log: &slog::Logger) -> Vec<Event> {
    let mut events = Vec::new();
    let mut begin = 0;
    let mut look = unread.len().saturating_sub(new + 1);
    while let Some(at) = unread[look..].windows(2).position(|pair| pair == b"\n\n") {
        let end = look + at;
        match serde_json::from_slice(&unread[begin..end]) {
            Ok(event) => events.push(event),
            Err(error) => warn!(log, "monitor sent no event"; "error" => %error),
        }
        begin = end + 2;
        look = begin;
    }
    unread.drain(..begin);
    events
}

#[cfg(test)]
mod tests {
    use tokio::io::AsyncWriteExt;

    use super::*;

    const BOOTED: &str = "{\n  \"timestamp\": {\n    \"secs\": 0,\n    \"nanos\": 618704\n  },\n  \"source\": \"vm\",\n  \
         \"event\": \"booted\",\n  \"properties\": null\n}\n\n";
    const REMOVED: &str = "{\"timestamp\":{\"secs\":1,\"nanos\":2},\"source\":\"vm\",\
        \"event\":\"device-removed\",\"properties\":{\"id\":\"disk-a\",\"bdf\":\"0000:00:05.0\"}}\n\n";

    fn log() -> slog::Logger {
        slog::Logger::root(slog::Discard, slog::o!())
    }

    #[tokio::test]
    async fn events_come_in_any_pieces() {
        let (mut to, from) = tokio::io::duplex(64);
        let events = Events::default();
        let booted = events.expect(|event| event.is("vm", "booted"));
        let removed = events.expect(|event| event.text("id") == Some("disk-a"));
        tokio::spawn(events.clone().listen(from, log()));
        for byte in format!("{BOOTED}no event\n\n{REMOVED}").bytes() {
            to.write_all(&[byte]).await.unwrap();
        }
        let deadline = Duration::from_secs(5);
        assert!(booted.within(deadline).await.is_ok());
        let removed = removed.within(deadline).await.unwrap();
        assert_eq!(removed.text("bdf"), Some("0000:00:05.0"));
    }

    #[tokio::test]
    async fn the_end_of_the_monitor_ends_every_wait() {
        let (to, from) = tokio::io::duplex(64);
        let events = Events::default();
        let before = events.expect(|_| true);
        let listener = tokio::spawn(events.clone().listen(from, log()));
        drop(to);
        listener.await.unwrap();
        let deadline = Duration::from_secs(5);
        assert_eq!(before.within(deadline).await, Err(Missed::Ended));
        assert_eq!(
            events.expect(|_| true).within(deadline).await,
            Err(Missed::Ended)
        );
    }

    #[tokio::test(start_paused = true)]
    async fn a_wait_has_an_end() {
        let events = Events::default();
        let expected = events.expect(|_| true);
        assert_eq!(
            expected.within(Duration::from_secs(1)).await,
            Err(Missed::Late)
        );
    }

    #[tokio::test]
    async fn an_endless_event_is_given_up() {
        let (mut to, from) = tokio::io::duplex(4096);
        let events = Events::default();
        let listener = tokio::spawn(events.clone().listen(from, log()));
        while to.write_all(&[b' '; 4096]).await.is_ok() {}
        listener.await.unwrap();
    }
}

//! The events that Cloud Hypervisor writes: JSON objects with an empty line behind each.

use std::{collections::HashMap, sync::Arc};

use serde::Deserialize;
use slog::{debug, warn};
use system::sync::{Mutex, MutexGuard};
use tokio::io::{AsyncRead, AsyncReadExt};

use crate::events::{Awaited, Waiters};

/// The longest event that is taken; one has some 150 bytes.
const EVENT_LIMIT: usize = 64 << 10;

/// One event, in the fields of `event-monitor` of Cloud Hypervisor.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct Event {
    /// `vm`, `vmm`, `virtio-device`, `guest`.
    pub source: String,
    /// What happened there, as `booted` or `device-removed`.
    pub event: String,
    /// Details by name, such as the `id` of a device.
    #[serde(default)]
    pub properties: Option<HashMap<String, String>>,
}

impl Event {
    /// Whether it is this one.
    pub fn is(&self, source: &str, event: &str) -> bool {
        self.source == source && self.event == event
    }

    /// The detail of this name.
    pub fn text(&self, name: &str) -> Option<&str> {
        self.properties.as_ref()?.get(name).map(String::as_str)
    }
}

/// The events of one VMM.
#[derive(Debug, Clone, Default)]
pub struct Events(Arc<Mutex<Waiters<Event>>>);

impl Events {
    /// Reads events from `from` to its end.
    pub async fn listen(self, mut from: impl AsyncRead + Unpin, log: slog::Logger) {
        let mut unread = Vec::new();
        while let Ok(length @ 1..) = from.read_buf(&mut unread).await {
            for event in take(&mut unread, length, &log) {
                debug!(log, "VMM event received";
                    "source" => &event.source, "event" => &event.event);
                self.lock().deliver(&event);
            }
            if unread.len() > EVENT_LIMIT {
                warn!(log, "VMM sent an endless event; later events are ignored");
                break;
            }
        }
        self.lock().end();
    }

    /// Starts to wait for the first event that `wanted` accepts. To be called before the call that
    /// leads to it.
    pub fn wait_for(&self, wanted: impl Fn(&Event) -> bool + Send + 'static) -> Awaited<Event> {
        self.lock().wait_for(wanted)
    }

    fn lock(&self) -> MutexGuard<'_, Waiters<Event>> {
        self.0.lock()
    }
}

/// Takes the whole events out of `unread`, whose last `new` bytes have not been looked at.
fn take(unread: &mut Vec<u8>, new: usize, log: &slog::Logger) -> Vec<Event> {
    let mut events = Vec::new();
    let mut begin = 0;
    let mut from = unread.len().saturating_sub(new + 1);
    while let Some(at) = unread[from..].windows(2).position(|pair| pair == b"\n\n") {
        let end = from + at;
        match serde_json::from_slice(&unread[begin..end]) {
            Ok(event) => events.push(event),
            Err(error) => warn!(log, "VMM sent an invalid event"; "error" => %error),
        }
        begin = end + 2;
        from = begin;
    }
    unread.drain(..begin);
    events
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use tokio::io::AsyncWriteExt;

    use super::*;
    use crate::events::NoEvent;

    const BOOTED: &str = "{\n  \"timestamp\": {\n    \"secs\": 0,\n    \"nanos\": 618704\n  },\n  \
         \"source\": \"vm\",\n  \"event\": \"booted\",\n  \"properties\": null\n}\n\n";
    const REMOVED: &str = "{\"timestamp\":{\"secs\":1,\"nanos\":2},\"source\":\"vm\",\
        \"event\":\"device-removed\",\
        \"properties\":{\"id\":\"disk-a\",\"bdf\":\"0000:00:05.0\"}}\n\n";

    fn log() -> slog::Logger {
        slog::Logger::root(slog::Discard, slog::o!())
    }

    #[tokio::test]
    async fn events_come_in_any_pieces() {
        let (mut to, from) = tokio::io::duplex(64);
        let events = Events::default();
        let booted = events.wait_for(|event| event.is("vm", "booted"));
        let removed = events.wait_for(|event| event.text("id") == Some("disk-a"));
        tokio::spawn(events.clone().listen(from, log()));
        for byte in format!("{BOOTED}no event\n\n{REMOVED}").bytes() {
            to.write_all(&[byte]).await.unwrap();
        }
        let timeout = Duration::from_secs(5);
        assert!(booted.within(timeout).await.is_ok());
        let removed = removed.within(timeout).await.unwrap();
        assert_eq!(removed.text("bdf"), Some("0000:00:05.0"));
    }

    #[tokio::test]
    async fn the_end_of_the_vmm_ends_every_wait() {
        let (to, from) = tokio::io::duplex(64);
        let events = Events::default();
        let before = events.wait_for(|_| true);
        let listener = tokio::spawn(events.clone().listen(from, log()));
        drop(to);
        listener.await.unwrap();
        let timeout = Duration::from_secs(5);
        assert_eq!(before.within(timeout).await, Err(NoEvent::Ended));
        assert_eq!(
            events.wait_for(|_| true).within(timeout).await,
            Err(NoEvent::Ended)
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

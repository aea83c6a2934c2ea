//! Out-of-memory kills in a container's cgroup.

use std::path::PathBuf;

use futures::StreamExt;
use inotify::{EventMask, Inotify, WatchMask};
use tokio::sync::mpsc;

use super::{Group, stats::read_keyed};
use crate::error::{Doing, Result};

impl Group {
    /// Sends `id` to `events` after each out-of-memory kill in this group, until the group is
    /// removed. When the channel is full, events are dropped.
    ///
    /// # Errors
    ///
    /// When inotify cannot watch the group's events.
    pub fn watch_oom(&self, id: String, events: mpsc::Sender<String>) -> Result<()> {
        let path = self.directory.join("memory.events");
        let watch = Inotify::init().doing(|| "make an inotify instance".into())?;
        watch
            .watches()
            .add(&path, WatchMask::MODIFY | WatchMask::DELETE_SELF)
            .on("watch", &path)?;
        let changes = watch.into_event_stream([0; 1024]).on("watch", &path)?;
        tokio::spawn(report(path, id, events, changes));
        Ok(())
    }
}

async fn report(
    path: PathBuf,
    id: String,
    events: mpsc::Sender<String>,
    mut changes: inotify::EventStream<[u8; 1024]>,
) {
    let mut known = 0;
    while let Some(Ok(change)) = changes.next().await {
        let killed = read_keyed(&path)
            .ok()
            .and_then(|counts| counts.get("oom_kill").copied());
        if let Some(killed) = killed.filter(|killed| *killed > known) {
            known = killed;
            let _dropped_when_full = events.try_send(id.clone());
        }
        if change
            .mask
            .intersects(EventMask::DELETE_SELF | EventMask::IGNORED)
        {
            return;
        }
    }
}

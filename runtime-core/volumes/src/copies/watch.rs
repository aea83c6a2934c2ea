//! Watches the sources of copies on the host, and copies changes into the guest.
//!
//! A sandbox has one inotify instance and one task. A watch begins before its source is first
//! copied, and ends with the last container that uses it.

use std::{
    collections::{BTreeSet, HashMap},
    ffi::CStr,
    io,
    mem::MaybeUninit,
    os::fd::OwnedFd,
    sync::{Arc, Weak},
};

use agent_client::Agent;
use rustix::fs::inotify::{
    CreateFlags, ReadFlags, Reader, WatchFlags, add_watch, init, remove_watch,
};
use slog::{Logger, debug, info, warn};
use system::{
    error::chain,
    readiness::register,
    sync::{Mutex, MutexGuard},
};
use tokio::{
    io::{Interest, unix::AsyncFd},
    task::AbortHandle,
};

use super::Copy;
use crate::{
    VolumeError,
    source::{CURRENT, Kind},
};

/// The watches of a sandbox, which end when it is dropped.
#[derive(Debug)]
pub(crate) struct Watcher {
    table: Arc<Table>,
    task: AbortHandle,
}

#[derive(Debug)]
struct Table {
    inotify: AsyncFd<OwnedFd>,
    by_number: Mutex<HashMap<i32, Weak<Copy>>>,
}

/// The watch of one source, which ends when it is dropped.
#[derive(Debug)]
pub(crate) struct Registration {
    table: Weak<Table>,
    number: i32,
    copy: Weak<Copy>,
}

impl Watcher {
    /// Starts the task, without a watch.
    ///
    /// # Errors
    /// The kernel has no more inotify instances for this user.
    pub(crate) fn start(agent: Agent, log: Logger) -> Result<Self, VolumeError> {
        let fail = |source: io::Error| VolumeError::Watch { source };
        let inotify =
            init(CreateFlags::CLOEXEC | CreateFlags::NONBLOCK).map_err(|e| fail(e.into()))?;
        let table = Arc::new(Table {
            inotify: register(inotify, Interest::READABLE).map_err(fail)?,
            by_number: Mutex::default(),
        });
        let task = tokio::spawn(follow(table.clone(), agent, log)).abort_handle();
        Ok(Self { table, task })
    }

    /// Begins to watch the source of `copy`, unless it is watched already.
    pub(crate) fn add(&self, copy: &Arc<Copy>) -> Result<(), VolumeError> {
        let flags = match copy.source.facts.kind {
            Kind::Directory => WatchFlags::CREATE | WatchFlags::MOVED_TO | WatchFlags::CLOSE_WRITE,
            _ => WatchFlags::CLOSE_WRITE,
        };
        let mut by_number = self.table.lock();
        if copy.registration.get().is_some() {
            return Ok(());
        }
        let number = add_watch(
            self.table.inotify.get_ref(),
            copy.source.pinned_path(),
            flags,
        )
        .map_err(|e| VolumeError::Watch { source: e.into() })?;
        by_number.insert(number, Arc::downgrade(copy));
        // Set only here, under the lock.
        let _ = copy.registration.set(Registration {
            table: Arc::downgrade(&self.table),
            number,
            copy: Arc::downgrade(copy),
        });
        Ok(())
    }
}

impl Drop for Watcher {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Drop for Registration {
    fn drop(&mut self) {
        let Some(table) = self.table.upgrade() else {
            return;
        };
        let mut by_number = table.lock();
        // The watch may belong to another copy of the same source by now.
        if by_number
            .get(&self.number)
            .is_some_and(|copy| copy.ptr_eq(&self.copy))
        {
            by_number.remove(&self.number);
            // Gone already if the source is.
            let _ = remove_watch(table.inotify.get_ref(), self.number);
        }
    }
}

impl Table {
    fn lock(&self) -> MutexGuard<'_, HashMap<i32, Weak<Copy>>> {
        self.by_number.lock()
    }

    /// Waits for events. Returns the numbers of the watches whose sources may have changed.
    async fn changed(&self) -> io::Result<BTreeSet<i32>> {
        let mut changed = BTreeSet::new();
        let mut guard = self.inotify.readable().await?;
        let mut buffer = [MaybeUninit::uninit(); 8192];
        let mut events = Reader::new(self.inotify.get_ref(), &mut buffer);
        loop {
            match events.next() {
                Ok(event) if event.events().contains(ReadFlags::QUEUE_OVERFLOW) => {
                    changed.extend(self.lock().keys());
                }
                Ok(event) if event.events().contains(ReadFlags::IGNORED) => {
                    self.lock().remove(&event.wd());
                }
                Ok(event) if matters(event.file_name()) => drop(changed.insert(event.wd())),
                Ok(_) => {}
                Err(rustix::io::Errno::AGAIN) => break,
                Err(error) => return Err(error.into()),
            }
        }
        guard.clear_ready();
        Ok(changed)
    }
}

/// Whether an event of this file may be a change. kubelet prepares the next content under names
/// that begin with `..`, and then replaces [`CURRENT`].
fn matters(name: Option<&CStr>) -> bool {
    name.is_none_or(|name| name == CURRENT || !name.to_bytes().starts_with(b".."))
}

async fn follow(table: Arc<Table>, agent: Agent, log: Logger) {
    loop {
        let changed = match table.changed().await {
            Ok(changed) => changed,
            Err(error) => {
                warn!(log, "volume updates stopped"; "error" => %error);
                return;
            }
        };
        for number in changed {
            let copy = table.lock().get(&number).and_then(Weak::upgrade);
            let Some(copy) = copy else { continue };
            let path = copy.source.path.display().to_string();
            match copy.refresh(&agent).await {
                Ok(summary) => info!(log, "volume updated";
                    "path" => path, "bytes" => summary.bytes),
                // The next change causes another event.
                Err(VolumeError::Changing { .. }) => {
                    debug!(log, "volume update postponed"; "path" => path);
                }
                Err(error) => warn!(log, "volume not updated";
                    "path" => path, "error" => chain(&error)),
            }
        }
    }
}

//! Copies of the host's files in the guest, one for each source however many containers use it.

mod watch;

use std::{
    collections::HashMap,
    ffi::CString,
    sync::{Arc, OnceLock, Weak},
};

use agent_client::Agent;
use system::sync::{Mutex as StdMutex, MutexGuard};
use tokio::sync::Mutex;

use super::{
    VolumeError,
    look::Source,
    transfer::transfer,
    tree::{Job, Limits, Summary},
};
use watch::Registration;
pub(super) use watch::Watcher;

/// Most copies that the containers of a sandbox have at once.
const MAX_COPIES: usize = 256;

/// One source and its copy. It keeps the source open, so it lives no longer than the containers
/// that use it: kubelet must be able to unmount.
#[derive(Debug)]
pub(super) struct Copy {
    pub(super) source: Source,
    /// Path in the guest.
    pub(super) target: String,
    pub(super) recursive: bool,
    pub(super) limits: Limits,
    /// Held while it is copied.
    has: Mutex<Has>,
    /// Ends the watch over the source.
    pub(super) registration: OnceLock<Registration>,
}

/// What the guest has of a source.
#[derive(Debug, Default)]
struct Has {
    /// The current content.
    current: Option<CString>,
    /// Paths in it that containers may have written to since.
    memory: Vec<String>,
}

impl Copy {
    pub(super) fn new(source: Source, target: String, recursive: bool, limits: Limits) -> Self {
        Self {
            source,
            target,
            recursive,
            limits,
            has: Mutex::default(),
            registration: OnceLock::new(),
        }
    }

    /// Of a source that the guest had before: these paths in it are its own.
    pub(super) fn leaving(mut self, memory: Vec<String>) -> Self {
        self.has.get_mut().memory = memory;
        self
    }

    /// Brings what the guest does not have yet.
    pub(super) async fn refresh(&self, agent: &Agent) -> Result<Summary, VolumeError> {
        let mut has = self.has.lock().await;
        let summary = transfer(agent, || Job {
            source: self.source.clone(),
            target: self.target.clone(),
            recursive: self.recursive,
            limits: self.limits,
            has: has.current.clone(),
            left: has.memory.clone(),
        })
        .await?;
        has.current.clone_from(&summary.current);
        has.memory.clone_from(&summary.memory);
        Ok(summary)
    }
}

/// The copies in use.
#[derive(Debug, Default)]
pub(super) struct Copies(StdMutex<HashMap<(u64, u64), Weak<Copy>>>);

impl Copies {
    /// The copy of this source, or a new one made by `make`.
    pub(super) fn of(
        &self,
        identity: (u64, u64),
        make: impl FnOnce() -> Copy,
    ) -> Result<Arc<Copy>, VolumeError> {
        let mut copies = self.lock();
        if let Some(copy) = copies.get(&identity).and_then(Weak::upgrade) {
            return Ok(copy);
        }
        copies.retain(|_, copy| copy.strong_count() > 0);
        if copies.len() >= MAX_COPIES {
            return Err(VolumeError::TooManyCopied { limit: MAX_COPIES });
        }
        let copy = Arc::new(make());
        copies.insert(identity, Arc::downgrade(&copy));
        Ok(copy)
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<(u64, u64), Weak<Copy>>> {
        self.0.lock()
    }
}

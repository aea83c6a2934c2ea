//! Copies of the host's files in the guest: one for each source, shared by all containers.

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
    source::Source,
    transfer::transfer,
    tree::{Job, Limits, Summary},
};
use watch::Registration;
pub(super) use watch::Watcher;

/// The most copies that the containers of a sandbox use at a time.
const MAX_COPIES: usize = 256;

/// One source and its copy. It keeps the source open, so it must not outlive the containers that
/// use it: kubelet must be able to unmount.
#[derive(Debug)]
pub(super) struct Copy {
    pub(super) source: Source,
    /// Path in the guest.
    pub(super) target: String,
    pub(super) recursive: bool,
    pub(super) limits: Limits,
    /// Locked while it is copied.
    transferred: Mutex<Transferred>,
    /// The watch of the source.
    pub(super) registration: OnceLock<Registration>,
}

/// What the guest has of a source.
#[derive(Debug, Default)]
struct Transferred {
    /// kubelet's name for the content.
    current: Option<CString>,
    /// Paths in it that containers may have written to since.
    writable: Vec<String>,
}

impl Copy {
    pub(super) fn new(source: Source, target: String, recursive: bool, limits: Limits) -> Self {
        Self {
            source,
            target,
            recursive,
            limits,
            transferred: Mutex::default(),
            registration: OnceLock::new(),
        }
    }

    /// For a source that was copied before: these paths in it belong to the guest, and are not
    /// copied again.
    pub(super) fn keeping(mut self, writable: Vec<String>) -> Self {
        self.transferred.get_mut().writable = writable;
        self
    }

    /// Copies what the guest does not have yet.
    pub(super) async fn refresh(&self, agent: &Agent) -> Result<Summary, VolumeError> {
        let mut transferred = self.transferred.lock().await;
        let summary = transfer(agent, || Job {
            source: self.source.clone(),
            target: self.target.clone(),
            recursive: self.recursive,
            limits: self.limits,
            current: transferred.current.clone(),
            guest_owned: transferred.writable.clone(),
        })
        .await?;
        transferred.current.clone_from(&summary.current);
        transferred.writable.clone_from(&summary.writable);
        Ok(summary)
    }
}

/// The copies in use, by device and inode of their source.
#[derive(Debug, Default)]
pub(super) struct Copies(StdMutex<HashMap<(u64, u64), Weak<Copy>>>);

impl Copies {
    /// The copy of this source, or a new one made by `make`.
    ///
    /// # Errors
    /// There are too many.
    pub(super) fn get_or_make(
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

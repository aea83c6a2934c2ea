//! The start limit: a node starts only so many VMs at once, the others wait.
//!
//! Starting one costs CPU time. Thirty at once on two cores all become ready at the end of the time
//! that all take together, and on the way each looks as if it hung. A few at a time are ready one
//! after the other, and none later than before.
//!
//! `<run root>/starts/<n>` are files that a start locks (`flock`) one of, so a place is free again when its
//! process has ended, at the latest. Closing one is an event for those who wait: there is no polling.
//! The wait counts towards no timeout but its own.

use std::{
    fs::{File, TryLockError},
    io,
    path::{Path, PathBuf},
    time::Duration,
};

use futures::StreamExt;
use inotify::{Inotify, WatchMask};
use nix::unistd::{SysconfVar, sysconf};
use system::file;
use tokio::time::timeout;

/// How long a start waits: half of what a kubelet gives a sandbox, and the rest is for the start.
const TIMEOUT: Duration = Duration::from_secs(120);

/// Starts at once for each CPU. While one waits for the guest or a disk another gets on.
const PER_CPU: usize = 2;

/// Name of the directory.
const DIRECTORY: &str = "starts";

/// A start for which there was no place. Nothing was started.
#[derive(Debug, thiserror::Error)]
pub enum LimitError {
    /// Others took too long.
    #[error(
        "Timed out after {waited:?} waiting for one of the {places} starts that this node makes at \
         once ({})",
        directory.display()
    )]
    Late {
        /// How long.
        waited: Duration,
        /// How many there are.
        places: usize,
        /// Where they are locked.
        directory: PathBuf,
    },
    /// The locks cannot be used.
    #[error("Cannot lock a place among the node's starts in {}", directory.display())]
    Io {
        /// Where they are locked.
        directory: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
}

/// How many VMs a node starts at once.
#[derive(Debug, Clone)]
pub struct StartLimit {
    directory: PathBuf,
    places: usize,
    timeout: Duration,
}

/// A place among the starts that a node makes at once. Dropped, it is the next one's.
#[derive(Debug)]
pub struct StartSlot {
    /// One is locked. The others were tried; closing one wakes those who wait, so that is done for
    /// all at the end.
    _files: Vec<File>,
}

impl StartLimit {
    /// That of the node whose run-time state is in `run_root`: two for each of its CPUs.
    #[must_use]
    pub fn of_node(run_root: &Path) -> Self {
        let cpus = sysconf(SysconfVar::_NPROCESSORS_ONLN).ok().flatten();
        let cpus = cpus.and_then(|cpus| usize::try_from(cpus).ok());
        Self {
            directory: run_root.join(DIRECTORY),
            places: cpus.unwrap_or(1).max(1) * PER_CPU,
            timeout: TIMEOUT,
        }
    }

    /// Waits for a place.
    ///
    /// # Errors
    /// There was none in time, or none can be locked.
    pub async fn wait(&self) -> Result<StartSlot, LimitError> {
        match timeout(self.timeout, wait(&self.directory, self.places)).await {
            Ok(Ok(slot)) => Ok(slot),
            Ok(Err(source)) => Err(LimitError::Io {
                directory: self.directory.clone(),
                source,
            }),
            Err(_) => Err(LimitError::Late {
                waited: self.timeout,
                places: self.places,
                directory: self.directory.clone(),
            }),
        }
    }
}

async fn wait(directory: &Path, places: usize) -> io::Result<StartSlot> {
    system::directory::ensure(directory, 0o700)?;
    let mut tried = Vec::new();
    if lock_one(directory, places, &mut tried)? {
        return Ok(StartSlot { _files: tried });
    }
    let inotify = Inotify::init()?;
    inotify.watches().add(directory, WatchMask::CLOSE_WRITE)?;
    let mut closed = inotify.into_event_stream([0; 4096])?;
    // What was let go before the watch began is found now.
    while !lock_one(directory, places, &mut tried)? {
        if let Some(Err(error)) = closed.next().await {
            return Err(error);
        }
    }
    Ok(StartSlot { _files: tried })
}

/// Locks a place that is free. Files that were opened stay open, in order.
fn lock_one(directory: &Path, places: usize, files: &mut Vec<File>) -> io::Result<bool> {
    let lock = |file: &File| match file.try_lock() {
        Ok(()) => Ok(true),
        Err(TryLockError::WouldBlock) => Ok(false),
        Err(TryLockError::Error(error)) => Err(error),
    };
    for file in files.iter() {
        if lock(file)? {
            return Ok(true);
        }
    }
    for place in files.len()..places {
        let file = file::open_or_make(&directory.join(place.to_string()))?;
        let locked = lock(&file)?;
        files.push(file);
        if locked {
            return Ok(true);
        }
    }
    Ok(false)
}

#[cfg(test)]
mod tests {
    use std::sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    };

    use super::*;

    fn limit(run_root: &Path, places: usize, timeout: Duration) -> StartLimit {
        StartLimit {
            directory: run_root.join(DIRECTORY),
            places,
            timeout,
        }
    }

    const LONG: Duration = Duration::from_secs(60);

    #[tokio::test(flavor = "multi_thread")]
    async fn only_so_many_start_at_once_and_all_do() {
        let dir = tempfile::tempdir().unwrap();
        let limit = limit(dir.path(), 3, LONG);
        let (now, most) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
        let starts: Vec<_> = (0..40)
            .map(|_| {
                let (limit, now, most) = (limit.clone(), now.clone(), most.clone());
                tokio::spawn(async move {
                    let slot = limit.wait().await.unwrap();
                    let running = now.fetch_add(1, Ordering::SeqCst) + 1;
                    most.fetch_max(running, Ordering::SeqCst);
                    tokio::task::yield_now().await;
                    now.fetch_sub(1, Ordering::SeqCst);
                    drop(slot);
                })
            })
            .collect();
        for start in starts {
            start.await.unwrap();
        }
        assert!(most.load(Ordering::SeqCst) <= 3);
    }

    #[tokio::test]
    async fn a_place_that_does_not_become_free_is_an_error() {
        let dir = tempfile::tempdir().unwrap();
        let held = limit(dir.path(), 1, LONG).wait().await.unwrap();
        let late = limit(dir.path(), 1, Duration::from_millis(20)).wait().await;
        let text = late.unwrap_err().to_string();
        assert!(
            text.starts_with("Timed out after 20ms waiting for one of the 1 starts"),
            "{text}"
        );
        drop(held);
        limit(dir.path(), 1, LONG).wait().await.unwrap();
    }

    #[tokio::test]
    async fn a_directory_that_cannot_be_made_is_an_error() {
        let dir = tempfile::tempdir().unwrap();
        std::fs::write(dir.path().join(DIRECTORY), "").unwrap();
        let error = StartLimit::of_node(dir.path()).wait().await.unwrap_err();
        assert!(matches!(error, LimitError::Io { .. }), "{error}");
    }
}

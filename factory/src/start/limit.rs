//! The start limit: the number of VMs that a node starts at once. Further starts wait.
//!
//! A start costs CPU time. If thirty VMs start at once on two cores, all become ready only when all
//! the work is done, and until then each looks as if it hung. If a few start at a time, they become
//! ready one after the other, and the last one no later.
//!
//! Each place is a file `<run root>/starts/<n>`. A start locks one of them with `flock`, so its
//! place is free again when its process ends, at the latest. Closing the file is an event for
//! starts that wait, so nothing polls. The wait counts towards no timeout but its own.

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

/// How long a start waits: half of the four minutes that kubelet gives a sandbox. The other half is
/// for the start itself.
const TIMEOUT: Duration = Duration::from_secs(120);

/// Starts at once for each CPU. While one of them waits for the guest or a disk, the other goes on.
const PER_CPU: usize = 2;

/// Name of the directory with the places, in the run root.
const DIRECTORY: &str = "starts";

/// The start limit was not passed. Nothing was started.
#[derive(Debug, thiserror::Error)]
pub enum LimitError {
    /// Other starts took too long.
    #[error(
        "Timed out after {waited:?} waiting for the start limit: this node starts {places} VMs at \
         once, and each locks a file in {}",
        directory.display()
    )]
    Late {
        /// How long the start waited.
        waited: Duration,
        /// The number of VMs that the node starts at once.
        places: usize,
        /// The directory with the places.
        directory: PathBuf,
    },
    /// The files of the places cannot be locked.
    #[error("Cannot lock a place of the start limit in {}", directory.display())]
    Io {
        /// The directory with the places.
        directory: PathBuf,
        /// The error of the operating system.
        #[source]
        source: io::Error,
    },
}

/// The number of VMs that a node starts at once, for all of its shims.
#[derive(Debug, Clone)]
pub struct StartLimit {
    directory: PathBuf,
    places: usize,
    timeout: Duration,
}

/// A place among the VMs that a node starts at once. When it is dropped, another start gets it.
#[derive(Debug)]
pub struct StartSlot {
    /// One of the files is locked, the others were tried. Closing any of them wakes the starts that
    /// wait, so all are closed together at the end.
    _files: Vec<File>,
}

impl StartLimit {
    /// The limit of the node whose run-time state is in `run_root`: two for each of its CPUs.
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
    /// None became free in time, or none can be locked.
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
    // A place that became free before the watch began is found now.
    while !lock_one(directory, places, &mut tried)? {
        if let Some(Err(error)) = closed.next().await {
            return Err(error);
        }
    }
    Ok(StartSlot { _files: tried })
}

/// Locks a place if one is free, and returns whether it did. Files that were opened stay open, in
/// the order of their numbers.
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
            text.starts_with("Timed out after 20ms waiting for the start limit"),
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

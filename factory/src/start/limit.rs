//! A node starts only so many VMs at once; the others wait for their turn.
//!
//! Starting one costs CPU time. Thirty at once on two cores all become ready at the end of the time
//! that all take together, and on the way each looks as if it hung. A few at a time are ready one
//! after the other, and none later than before.
//!
//! `<run root>/starts/<n>` are files that a start locks (`flock`) one of, so a turn ends with its
//! process at the latest. Closing one is an event for those who wait: nobody polls. A wait counts
//! towards no deadline but its own.

use std::{
    fs::{File, OpenOptions, TryLockError},
    io,
    os::unix::fs::OpenOptionsExt,
    path::{Path, PathBuf},
    time::Duration,
};

use futures::StreamExt;
use inotify::{Inotify, WatchMask};
use nix::{
    fcntl::OFlag,
    unistd::{SysconfVar, sysconf},
};
use tokio::time::timeout;

/// How long a start waits: half of what a kubelet gives a sandbox, and the rest is for the start.
const PATIENCE: Duration = Duration::from_secs(120);

/// Starts at once for each CPU. While one waits for the guest or a disk another gets on.
const PER_CPU: usize = 2;

/// Name of the directory.
const DIRECTORY: &str = "starts";

/// A start whose turn did not come. Nothing was started.
#[derive(Debug, thiserror::Error)]
pub enum TurnError {
    /// Others took too long.
    #[error(
        "Waited {waited:?} for one of the {places} starts that this node makes at once ({})",
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
    #[error("The node's starts in {} cannot be counted", directory.display())]
    Io {
        /// Where they are locked.
        directory: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
}

/// One of the starts that a node makes at once. Dropped, it is the next one's.
#[derive(Debug)]
pub struct Turn {
    /// One is locked. The others were tried; closing one wakes those who wait, so that is done for
    /// all at the end.
    _files: Vec<File>,
}

impl Turn {
    /// Waits for a turn.
    ///
    /// # Errors
    /// It did not come in time, or cannot be waited for.
    pub async fn take(run_root: &Path) -> Result<Self, TurnError> {
        let cpus = sysconf(SysconfVar::_NPROCESSORS_ONLN).ok().flatten();
        let cpus = cpus.and_then(|cpus| usize::try_from(cpus).ok());
        Self::of(run_root, cpus.unwrap_or(1).max(1) * PER_CPU, PATIENCE).await
    }

    async fn of(run_root: &Path, places: usize, patience: Duration) -> Result<Self, TurnError> {
        let directory = run_root.join(DIRECTORY);
        let waited = timeout(patience, wait(&directory, places)).await;
        match waited {
            Ok(Ok(turn)) => Ok(turn),
            Ok(Err(source)) => Err(TurnError::Io { directory, source }),
            Err(_) => Err(TurnError::Late {
                waited: patience,
                places,
                directory,
            }),
        }
    }
}

async fn wait(directory: &Path, places: usize) -> io::Result<Turn> {
    system::directory::ensure(directory, 0o700)?;
    let mut tried = Vec::new();
    if lock_one(directory, places, &mut tried)? {
        return Ok(Turn { _files: tried });
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
    Ok(Turn { _files: tried })
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
        let file = open(&directory.join(place.to_string()))?;
        let locked = lock(&file)?;
        files.push(file);
        if locked {
            return Ok(true);
        }
    }
    Ok(false)
}

fn open(path: &Path) -> io::Result<File> {
    OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(false)
        .mode(0o600)
        .custom_flags((OFlag::O_NOFOLLOW | OFlag::O_NONBLOCK).bits())
        .open(path)
}

#[cfg(test)]
mod tests {
    use std::sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    };

    use super::*;

    const LONG: Duration = Duration::from_secs(60);

    #[tokio::test(flavor = "multi_thread")]
    async fn only_so_many_start_at_once_and_all_do() {
        let dir = Arc::new(tempfile::tempdir().unwrap());
        let (now, most) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
        let starts: Vec<_> = (0..40)
            .map(|_| {
                let (dir, now, most) = (dir.clone(), now.clone(), most.clone());
                tokio::spawn(async move {
                    let turn = Turn::of(dir.path(), 3, LONG).await.unwrap();
                    let running = now.fetch_add(1, Ordering::SeqCst) + 1;
                    most.fetch_max(running, Ordering::SeqCst);
                    tokio::task::yield_now().await;
                    now.fetch_sub(1, Ordering::SeqCst);
                    drop(turn);
                })
            })
            .collect();
        for start in starts {
            start.await.unwrap();
        }
        assert!(most.load(Ordering::SeqCst) <= 3);
    }

    #[tokio::test]
    async fn a_turn_that_does_not_come_is_told() {
        let dir = tempfile::tempdir().unwrap();
        let held = Turn::of(dir.path(), 1, LONG).await.unwrap();
        let late = Turn::of(dir.path(), 1, Duration::from_millis(20)).await;
        let text = late.unwrap_err().to_string();
        assert!(
            text.starts_with("Waited 20ms for one of the 1 starts"),
            "{text}"
        );
        drop(held);
        Turn::of(dir.path(), 1, LONG).await.unwrap();
    }

    #[tokio::test]
    async fn a_directory_that_cannot_be_made_is_told() {
        let dir = tempfile::tempdir().unwrap();
        std::fs::write(dir.path().join(DIRECTORY), "").unwrap();
        let error = Turn::take(dir.path()).await.unwrap_err();
        assert!(matches!(error, TurnError::Io { .. }), "{error}");
    }
}

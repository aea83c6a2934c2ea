//! Waiting until something goes: a process, or an entry of a directory of the run-time state.

use std::{
    os::fd::{AsFd, BorrowedFd, OwnedFd},
    path::Path,
};

use nix::sys::inotify::{AddWatchFlags, InitFlags, Inotify};

use crate::{
    Error, Result,
    proc::Process,
    wait::{Deadline, Interest, ready},
};

/// Directories of a playground whose entries come and go with sandboxes.
const PLACES: [&str; 5] = [
    "run",
    "run/s",
    "run/vm",
    "fifo",
    "state/io.containerd.runtime.v2.task/default",
];

/// A watch on the run-time state.
pub(super) struct Changes(Inotify);

impl Changes {
    /// Watches the playground in this directory.
    pub(super) fn watch(directory: &Path) -> Result<Self> {
        let failed = |errno: nix::errno::Errno| Error::Io {
            action: "Watching",
            path: directory.to_owned(),
            source: errno.into(),
        };
        let flags = InitFlags::IN_CLOEXEC | InitFlags::IN_NONBLOCK;
        let inotify = Inotify::init(flags).map_err(failed)?;
        let gone = AddWatchFlags::IN_DELETE | AddWatchFlags::IN_MOVED_FROM;
        for place in PLACES.map(|place| directory.join(place)) {
            if place.is_dir() {
                inotify.add_watch(&place, gone).map_err(failed)?;
            }
        }
        Ok(Self(inotify))
    }

    /// Waits until one of the processes has ended, or an entry is gone.
    pub(super) fn next<'a>(
        &self,
        processes: impl Iterator<Item = &'a Process>,
        deadline: Deadline,
    ) -> Result<()> {
        let mut ends: Vec<OwnedFd> = Vec::new();
        for process in processes {
            match process.open() {
                Some(pidfd) => ends.push(pidfd),
                None => return Ok(()),
            }
        }
        let mut watched: Vec<(BorrowedFd<'_>, Interest)> = ends
            .iter()
            .map(|end| (end.as_fd(), Interest::Read))
            .collect();
        watched.push((self.0.as_fd(), Interest::Read));
        ready(&watched, deadline, "what is left to go")?;
        let _ = self.0.read_events();
        Ok(())
    }
}

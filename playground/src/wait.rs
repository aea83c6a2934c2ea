//! Waiting for file descriptors with a deadline, and for the signals that end a run early.

use std::{
    os::fd::{AsFd, BorrowedFd},
    sync::{
        OnceLock,
        atomic::{AtomicUsize, Ordering},
    },
    time::{Duration, Instant},
};

use nix::{
    poll::{PollFd, PollFlags, PollTimeout, poll},
    sys::{
        signal::{SigSet, Signal},
        signalfd::{SfdFlags, SignalFd},
    },
};

use crate::{Error, Result};

static SIGNALS: OnceLock<SignalFd> = OnceLock::new();
static SHIELDS: AtomicUsize = AtomicUsize::new(0);

/// Turns SIGINT, SIGTERM and SIGHUP into [`Error::Interrupted`] of the wait in progress and of all
/// later ones, so that an early end unwinds through the same cleanup as an ordinary one.
///
/// Must be called before the process has a second thread: the mask is inherited by those made
/// later.
pub fn catch_signals() -> Result<()> {
    let mut set = SigSet::empty();
    for signal in [Signal::SIGINT, Signal::SIGTERM, Signal::SIGHUP] {
        set.add(signal);
    }
    let descriptor = set
        .thread_block()
        .and_then(|()| SignalFd::with_flags(&set, SfdFlags::SFD_CLOEXEC | SfdFlags::SFD_NONBLOCK))
        .map_err(|errno| Error::Unexpected(format!("Signals cannot be caught: {errno}")))?;
    // A second call keeps the first descriptor: both would see the same signals.
    let _ = SIGNALS.set(descriptor);
    Ok(())
}

/// While one of these lives, signals do not interrupt waits: cleanup runs to its end.
#[derive(Debug)]
pub struct Shield(());

/// Shields what follows from interruption.
#[must_use]
pub fn shield() -> Shield {
    SHIELDS.fetch_add(1, Ordering::SeqCst);
    Shield(())
}

impl Drop for Shield {
    fn drop(&mut self) {
        SHIELDS.fetch_sub(1, Ordering::SeqCst);
    }
}

/// A point in time by which something must have happened, and how long that is from the start.
#[derive(Debug, Clone, Copy)]
pub struct Deadline {
    at: Instant,
    total: Duration,
}

impl Deadline {
    /// A deadline from now.
    #[must_use]
    pub fn after(total: Duration) -> Self {
        Self {
            at: Instant::now() + total,
            total,
        }
    }

    /// The time left, zero when it has passed.
    #[must_use]
    pub fn left(&self) -> Duration {
        self.at.saturating_duration_since(Instant::now())
    }

    fn missed(&self, waited_for: &str) -> Error {
        Error::Timeout {
            waited_for: waited_for.to_owned(),
            waited: self.total,
        }
    }
}

/// What a wait asks of a descriptor.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Interest {
    /// Bytes, or the end of the stream.
    Read,
    /// Room for bytes, or no reader left.
    Write,
}

/// Waits until one of the descriptors is ready and says which are.
pub fn ready(
    descriptors: &[(BorrowedFd<'_>, Interest)],
    deadline: Deadline,
    waited_for: &str,
) -> Result<Vec<bool>> {
    let mut polled: Vec<PollFd<'_>> = descriptors
        .iter()
        .map(|(fd, interest)| {
            let flags = match interest {
                Interest::Read => PollFlags::POLLIN,
                Interest::Write => PollFlags::POLLOUT,
            };
            PollFd::new(*fd, flags)
        })
        .collect();
    let signals = SIGNALS
        .get()
        .filter(|_| SHIELDS.load(Ordering::SeqCst) == 0);
    if let Some(signals) = signals {
        polled.push(PollFd::new(signals.as_fd(), PollFlags::POLLIN));
    }
    loop {
        // Rounded up, so that the last wait does not end a fraction early and spin.
        let left = deadline.left() + Duration::from_micros(999);
        let timeout = PollTimeout::try_from(left).unwrap_or(PollTimeout::MAX);
        match poll(&mut polled, timeout) {
            Err(nix::errno::Errno::EINTR) => {}
            Err(errno) => return Err(Error::Unexpected(format!("poll failed: {errno}"))),
            Ok(0) if deadline.left().is_zero() => return Err(deadline.missed(waited_for)),
            Ok(0) => {}
            Ok(_) => break,
        }
    }
    // The signal is left unread: every later wait must see it too.
    let is_ready = |fd: &PollFd<'_>| fd.any().unwrap_or(true);
    if signals.is_some() && polled.last().is_some_and(is_ready) {
        return Err(Error::Interrupted {
            waited_for: waited_for.to_owned(),
        });
    }
    Ok(polled[..descriptors.len()].iter().map(is_ready).collect())
}

/// Waits until one descriptor can be read.
pub fn readable(fd: BorrowedFd<'_>, deadline: Deadline, waited_for: &str) -> Result<()> {
    ready(&[(fd, Interest::Read)], deadline, waited_for).map(|_| ())
}

#[cfg(test)]
mod tests {
    use std::{io::Write, os::fd::AsFd, time::Duration};

    use super::{Deadline, readable};
    use crate::Error;

    #[test]
    fn a_wait_ends_at_its_deadline_and_names_what_it_waited_for() {
        let (reader, _writer) = std::io::pipe().unwrap();
        let missed = readable(
            reader.as_fd(),
            Deadline::after(Duration::from_millis(20)),
            "the word",
        );
        assert!(
            matches!(missed, Err(Error::Timeout { ref waited_for, .. }) if waited_for == "the word")
        );
    }

    #[test]
    fn a_wait_ends_when_bytes_come() {
        let (reader, mut writer) = std::io::pipe().unwrap();
        writer.write_all(b"x").unwrap();
        readable(
            reader.as_fd(),
            Deadline::after(Duration::from_secs(5)),
            "a byte",
        )
        .unwrap();
    }
}

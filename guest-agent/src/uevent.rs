//! The kernel's announcements of devices.

use std::{
    os::fd::{AsRawFd, OwnedFd},
    time::Duration,
};

use nix::{
    errno::Errno,
    sys::socket::{
        AddressFamily, MsgFlags, NetlinkAddr, SockFlag, SockProtocol, SockType, bind, recv, socket,
    },
};
use tokio::{
    io::{Interest, unix::AsyncFd},
    sync::watch,
    time::{Instant, timeout_at},
};

use crate::{
    error::{Doing, Error, Result},
    raw,
};

/// Says that some device changed. What changed is found in `/sys`, which is never out of date.
#[derive(Debug, Clone)]
pub struct Uevents(watch::Receiver<u64>);

impl Uevents {
    /// Begins to listen.
    ///
    /// # Errors
    ///
    /// When the kernel has no uevents for us.
    pub fn listen() -> Result<Self> {
        let doing = || "listen for devices".to_owned();
        let flags = SockFlag::SOCK_CLOEXEC | SockFlag::SOCK_NONBLOCK;
        let protocol = SockProtocol::NetlinkKObjectUEvent;
        let socket =
            socket(AddressFamily::Netlink, SockType::Datagram, flags, protocol).doing(doing)?;
        // Group 1 is the kernel's own.
        bind(socket.as_raw_fd(), &NetlinkAddr::new(0, 1)).doing(doing)?;
        let socket = raw::watch(socket, Interest::READABLE).doing(doing)?;
        let (count, changes) = watch::channel(0);
        tokio::spawn(receive_all(socket, count));
        Ok(Self(changes))
    }

    /// Returns what `find` finds, now or after some change, within `patience`. `what` is what the
    /// error says was waited for.
    ///
    /// # Errors
    ///
    /// When it was not found in time.
    pub async fn wait_for<T>(
        &self,
        what: &str,
        patience: Duration,
        find: impl Fn() -> Option<T>,
    ) -> Result<T> {
        let deadline = Instant::now() + patience;
        let mut changes = self.0.clone();
        loop {
            // Before looking: a change while looking is then seen by the next wait.
            changes.mark_unchanged();
            if let Some(found) = find() {
                return Ok(found);
            }
            if !matches!(timeout_at(deadline, changes.changed()).await, Ok(Ok(()))) {
                return find().ok_or_else(|| Error::Timeout {
                    event: what.to_owned(),
                    after: patience,
                });
            }
        }
    }
}

async fn receive_all(socket: AsyncFd<OwnedFd>, count: watch::Sender<u64>) {
    let mut data = [0; 8192];
    while let Ok(mut ready) = socket.readable().await {
        let received = ready.try_io(|socket| {
            recv(socket.get_ref().as_raw_fd(), &mut data, MsgFlags::empty()).map_err(Into::into)
        });
        match received {
            Ok(Ok(_)) => count.send_modify(|count| *count += 1),
            // Events were lost: look.
            Ok(Err(error)) if error.raw_os_error() == Some(Errno::ENOBUFS as i32) => {
                count.send_modify(|count| *count += 1);
            }
            Ok(Err(error)) if error.kind() == std::io::ErrorKind::Interrupted => {}
            Ok(Err(_)) => return,
            Err(_not_ready) => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn what_is_there_needs_no_event_and_what_is_not_times_out() {
        let (changed, changes) = watch::channel(0);
        let uevents = Uevents(changes);
        let patience = Duration::from_millis(20);
        assert_eq!(
            uevents
                .wait_for("a disk", patience, || Some(1))
                .await
                .unwrap(),
            1
        );
        let error = uevents
            .wait_for("a disk", patience, || None::<()>)
            .await
            .unwrap_err();
        assert!(error.to_string().contains("in vain for a disk"), "{error}");
        drop(changed);
    }
}

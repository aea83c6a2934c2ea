//! The kernel's notices about devices (uevents).

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
    syscalls,
};

/// Counts uevents. What has changed is looked up in `/sys`, which is always up to date.
#[derive(Debug, Clone)]
pub struct Uevents(watch::Receiver<u64>);

impl Uevents {
    /// Starts to listen.
    ///
    /// # Errors
    ///
    /// When the netlink socket cannot be opened.
    pub fn listen() -> Result<Self> {
        let doing = || "listen to uevents".to_owned();
        let flags = SockFlag::SOCK_CLOEXEC | SockFlag::SOCK_NONBLOCK;
        let protocol = SockProtocol::NetlinkKObjectUEvent;
        let socket =
            socket(AddressFamily::Netlink, SockType::Datagram, flags, protocol).doing(doing)?;
        // Group 1 is the kernel's own.
        bind(socket.as_raw_fd(), &NetlinkAddr::new(0, 1)).doing(doing)?;
        let socket = syscalls::watch(socket, Interest::READABLE).doing(doing)?;
        let (count, changes) = watch::channel(0);
        tokio::spawn(receive_all(socket, count));
        Ok(Self(changes))
    }

    /// Calls `find` now and after each uevent, until it returns something. `event` is what the
    /// error says was waited for.
    ///
    /// # Errors
    ///
    /// When nothing was found within `timeout`.
    pub async fn wait_for<T>(
        &self,
        event: &str,
        timeout: Duration,
        find: impl Fn() -> Option<T>,
    ) -> Result<T> {
        let deadline = Instant::now() + timeout;
        let mut changes = self.0.clone();
        loop {
            // Before the search: a change during the search is then seen by the next wait.
            changes.mark_unchanged();
            if let Some(found) = find() {
                return Ok(found);
            }
            if !matches!(timeout_at(deadline, changes.changed()).await, Ok(Ok(()))) {
                return find().ok_or_else(|| Error::Timeout {
                    event: event.to_owned(),
                    after: timeout,
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
            // Events were lost: something has changed.
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
    async fn a_present_device_needs_no_event_and_an_absent_one_times_out() {
        let (changed, changes) = watch::channel(0);
        let uevents = Uevents(changes);
        let timeout = Duration::from_millis(20);
        assert_eq!(
            uevents
                .wait_for("a disk", timeout, || Some(1))
                .await
                .unwrap(),
            1
        );
        let error = uevents
            .wait_for("a disk", timeout, || None::<()>)
            .await
            .unwrap_err();
        assert!(error.to_string().contains("waiting for a disk"), "{error}");
        drop(changed);
    }
}

//! AF_VSOCK, through the host's vhost-vsock.

use std::io;

use nix::errno::Errno;
use tokio_vsock::{VsockAddr, VsockStream};

/// Connects to a port of the guest with this context identifier.
pub async fn connect(cid: u32, port: u32) -> io::Result<VsockStream> {
    VsockStream::connect(VsockAddr::new(cid, port)).await
}

/// Whether the guest may still be booting: no guest has this identifier yet (`ENODEV`), nothing
/// listens on the port yet (`ECONNRESET`), or the guest's driver is not up yet (`ETIMEDOUT`).
pub fn is_worth_another_try(error: &io::Error) -> bool {
    let transient = [
        Errno::ENODEV,
        Errno::ECONNRESET,
        Errno::ECONNREFUSED,
        Errno::ETIMEDOUT,
        Errno::EINTR,
    ];
    let errno = error.raw_os_error().map(Errno::from_raw);
    errno.is_some_and(|errno| transient.contains(&errno))
}

//! The agent's port on a vsock, for the host alone.

use std::io;

use agent_client::AGENT_PORT;
use futures::{Stream, stream};
use slog::Logger;
use tokio_vsock::{VMADDR_CID_ANY, VMADDR_CID_HOST, VsockAddr, VsockListener, VsockStream};

use crate::error::{Doing, Result};

/// The connections that the host makes to the agent's port.
///
/// Other connections are closed before a byte of them is read: where the guest's kernel has a vsock
/// loopback, programs in containers can reach the port, too.
///
/// # Errors
///
/// When the port is in use.
pub fn from_host(log: Logger) -> Result<impl Stream<Item = io::Result<VsockStream>> + Send> {
    let listener = VsockListener::bind(VsockAddr::new(VMADDR_CID_ANY, AGENT_PORT))
        .doing(|| format!("listen on port {AGENT_PORT} of the vsock"))?;
    let listener = HostListener {
        listener,
        log,
        has_refused: false,
    };
    Ok(stream::unfold(listener, |mut listener| async move {
        Some((listener.accept().await, listener))
    }))
}

struct HostListener {
    listener: VsockListener,
    log: Logger,
    /// Only the first refusal is logged: a container could fill the log with them.
    has_refused: bool,
}

impl HostListener {
    async fn accept(&mut self) -> io::Result<VsockStream> {
        loop {
            let (stream, peer) = self.listener.accept().await?;
            if is_host(peer) {
                return Ok(stream);
            }
            if !self.has_refused {
                slog::warn!(self.log, "vsock connection refused: not from the host";
                    "cid" => peer.cid(), "port" => peer.port());
                self.has_refused = true;
            }
        }
    }
}

/// A guest's vsock transport gives the host's address to the host's connections only.
fn is_host(peer: VsockAddr) -> bool {
    peer.cid() == VMADDR_CID_HOST
}

#[cfg(test)]
mod tests {
    use tokio_vsock::{VMADDR_CID_HYPERVISOR, VMADDR_CID_LOCAL};

    use super::*;

    #[test]
    fn only_the_host_may_connect() {
        let own = 4711;
        let from = |cid| VsockAddr::new(cid, 1023);
        assert!(is_host(from(VMADDR_CID_HOST)));
        for cid in [VMADDR_CID_HYPERVISOR, VMADDR_CID_LOCAL, own, VMADDR_CID_ANY] {
            assert!(!is_host(from(cid)), "{cid}");
        }
    }
}

//! The agent's port on a vsock, for the host alone.

use std::io;

use agent_client::AGENT_PORT;
use futures::{Stream, stream};
use slog::Logger;
use tokio_vsock::{VMADDR_CID_ANY, VMADDR_CID_HOST, VsockAddr, VsockListener, VsockStream};

use crate::error::{Doing, Result};

/// The connections that the host makes to the agent's port. Others are closed before a byte of them is
/// read: programs in containers reach the port too where the guest's kernel has a vsock loopback.
///
/// # Errors
///
/// When the port cannot be listened on.
pub fn from_host(log: Logger) -> Result<impl Stream<Item = io::Result<VsockStream>> + Send> {
    let listener = VsockListener::bind(VsockAddr::new(VMADDR_CID_ANY, AGENT_PORT))
        .doing(|| format!("listen on port {AGENT_PORT} of the vsock"))?;
    let first = Door {
        listener,
        log,
        refused: false,
    };
    Ok(stream::unfold(first, |mut door| async move {
        Some((door.next_of_host().await, door))
    }))
}

struct Door {
    listener: VsockListener,
    log: Logger,
    /// Whether a refusal was logged: who is refused could fill the log.
    refused: bool,
}

impl Door {
    async fn next_of_host(&mut self) -> io::Result<VsockStream> {
        loop {
            let (stream, peer) = self.listener.accept().await?;
            if is_host(peer) {
                return Ok(stream);
            }
            if !self.refused {
                slog::warn!(self.log, "refused a vsock connection that is not the host's";
                    "cid" => peer.cid(), "port" => peer.port());
                self.refused = true;
            }
        }
    }
}

/// A guest's transport gives the host's address to what comes from the host and to nothing else.
fn is_host(peer: VsockAddr) -> bool {
    peer.cid() == VMADDR_CID_HOST
}

#[cfg(test)]
mod tests {
    use tokio_vsock::{VMADDR_CID_HYPERVISOR, VMADDR_CID_LOCAL};

    use super::*;

    #[test]
    fn the_host_is_let_in_and_nobody_else() {
        let own = 4711;
        let from = |cid| VsockAddr::new(cid, 1023);
        assert!(is_host(from(VMADDR_CID_HOST)));
        for cid in [VMADDR_CID_HYPERVISOR, VMADDR_CID_LOCAL, own, VMADDR_CID_ANY] {
            assert!(!is_host(from(cid)), "{cid}");
        }
    }
}

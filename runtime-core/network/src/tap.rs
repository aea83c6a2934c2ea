//! Taps: the host's end of a VM's NIC.

use std::{io, os::fd::OwnedFd, sync::Arc};

use hypervisors::NicSpec;
use nix::net::if_::if_nametoindex;
use system::{random, tap};

use super::model::mac_text;

/// Pattern of the names: the kernel replaces `%d` by the first free number.
const NAME: &str = "tap%d_imprint";

/// An interface of its network namespace whose frames a VM reads and writes. The kernel removes it
/// after its last descriptor was closed.
#[derive(Debug, Clone)]
pub struct Tap {
    /// The interface's name, as in `tap0_imprint`.
    pub name: String,
    /// The kernel's number for it.
    pub index: u32,
    /// Through which the VMM reads and writes frames.
    pub descriptor: Arc<OwnedFd>,
    /// The NIC's first hardware address.
    address: [u8; 6],
}

impl Tap {
    /// A NIC with this tap. It has a random address until the guest sets that of the CNI.
    #[must_use]
    pub fn nic(&self) -> NicSpec {
        NicSpec {
            mac: mac_text(&self.address),
            tap: Arc::clone(&self.descriptor),
        }
    }
}

/// Makes a tap in the network namespace of the calling thread. It is down and not connected.
pub(super) fn open() -> io::Result<Tap> {
    let (descriptor, name) = tap::open(NAME)?;
    let mut address = random::bytes::<6>()?;
    // Locally administered, and of one interface (IEEE 802, 8.2.2).
    address[0] = address[0] & 0xfc | 0x02;
    Ok(Tap {
        index: if_nametoindex(name.as_str())?,
        name,
        descriptor: Arc::new(descriptor),
        address,
    })
}

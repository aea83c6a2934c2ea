//! Where every device of a VM sits. A saved VM can only be loaded into the same layout, so all of
//! it is fixed here and nothing is left to QEMU's own numbering.

use crate::PciPath;

/// Slot of the virtio-serial controller on the root bus.
pub const SERIAL_SLOT: u32 = 0x01;
/// Slot of the entropy device.
pub const RNG_SLOT: u32 = 0x02;
/// Slot of the guest's root image, when it has one.
pub const IMAGE_SLOT: u32 = 0x03;
/// Slot of the vsock device, when the host has vhost-vsock.
pub const VSOCK_SLOT: u32 = 0x04;
/// Slot of the first root port; the others follow. 1Eh and 1Fh belong to the chipset.
pub const FIRST_PORT_SLOT: u32 = 0x08;

/// Name of the virtio-serial port the guest's agent answers on.
pub const AGENT_PORT: &str = "imprint.agent";
/// Name of the virtio-serial port the guest's agent logs to.
pub const LOG_PORT: &str = "imprint.log";

/// Changes whenever a saved VM of the previous layout could not be loaded any more.
pub const VERSION: u32 = 1;

/// A root port: the slot it occupies on the root bus.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Port(u32);

impl Port {
    /// The `index`th root port.
    pub fn nth(index: u32) -> Self {
        Self(FIRST_PORT_SLOT + index)
    }

    /// The slot on the root bus.
    pub fn slot(self) -> u32 {
        self.0
    }

    /// The name of the bus behind the port.
    pub fn bus(self) -> String {
        format!("port-{:02x}", self.0)
    }

    /// Where the guest finds the device behind the port.
    pub fn path(self) -> PciPath {
        PciPath::from_slots(&[self.0, 0])
    }
}

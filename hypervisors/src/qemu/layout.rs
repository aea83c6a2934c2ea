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
/// Slot of the network interface that is there from the start.
pub const NIC_SLOT: u32 = 0x05;
/// Slot of the first disk slots; each is a function of its own.
const FIRST_DISK_SLOT: u32 = 0x06;
/// Functions of one slot (PCI Local Bus Specification 3.0, 6.1).
const FUNCTIONS: u32 = 8;
/// The most disk slots that fit before the root ports.
pub const MAX_DISK_SLOTS: u32 = (FIRST_PORT_SLOT - FIRST_DISK_SLOT) * FUNCTIONS;
/// Slot of the first root port; the others follow. 1Eh and 1Fh belong to the chipset.
pub const FIRST_PORT_SLOT: u32 = 0x08;

/// Name of the virtio-serial port the guest's agent answers on.
pub const AGENT_PORT: &str = "imprint.agent";
/// Name of the virtio-serial port the guest's agent logs to.
pub const LOG_PORT: &str = "imprint.log";

/// Changes whenever a saved VM of the previous layout could not be loaded any more.
pub const VERSION: u32 = 2;

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

/// Slot and function of the `index`th disk slot.
pub fn disk_slot(index: u32) -> (u32, u32) {
    (FIRST_DISK_SLOT + index / FUNCTIONS, index % FUNCTIONS)
}

/// Where the guest finds the `index`th disk slot.
pub fn disk_slot_path(index: u32) -> PciPath {
    let (slot, function) = disk_slot(index);
    PciPath::of_function(slot, function)
}

/// Where the guest finds the network interface that is there from the start.
pub fn nic_path() -> PciPath {
    PciPath::from_slots(&[NIC_SLOT])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn disk_slots_are_functions_below_the_ports() {
        assert_eq!(disk_slot_path(0).to_string(), "06");
        assert_eq!(disk_slot_path(9).to_string(), "07.1");
        assert!(disk_slot(MAX_DISK_SLOTS - 1).0 < FIRST_PORT_SLOT);
        assert_eq!(nic_path().to_string(), "05");
    }
}

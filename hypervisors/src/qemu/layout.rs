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
/// Slot of the first root port; the others follow.
pub const FIRST_PORT_SLOT: u32 = 0x08;
/// Slots of the bridges, behind the last root port there may be. 1Eh and 1Fh belong to the chipset.
pub const BRIDGE_SLOTS: [u32; 2] = [0x1c, 0x1d];
/// Devices behind one bridge; its slot 0 is its own hot-plug controller's.
pub const BEHIND_BRIDGE: u32 = 31;

/// Name of the virtio-serial port the guest's agent answers on.
pub const AGENT_PORT: &str = "imprint.agent";
/// Name of the virtio-serial port the guest's agent logs to.
pub const LOG_PORT: &str = "imprint.log";

/// Changes whenever a saved VM of the previous layout could not be loaded any more.
pub const VERSION: u32 = 3;

/// A place for a device that is attached while the VM runs: behind a root port, or one of many
/// behind a bridge.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Port {
    /// The port's or the bridge's slot on the root bus.
    slot: u32,
    /// The device's slot behind it.
    behind: u32,
}

impl Port {
    /// The place behind the `index`th root port.
    pub fn nth(index: u32) -> Self {
        Self {
            slot: FIRST_PORT_SLOT + index,
            behind: 0,
        }
    }

    /// The `index`th place behind a bridge.
    pub fn behind_bridge(index: u32) -> Self {
        let bridge = (index / BEHIND_BRIDGE) as usize % BRIDGE_SLOTS.len();
        Self {
            slot: BRIDGE_SLOTS[bridge],
            behind: 1 + index % BEHIND_BRIDGE,
        }
    }

    /// The slot on the root bus.
    pub fn slot(self) -> u32 {
        self.slot
    }

    /// The name of the bus that the device is on.
    pub fn bus(self) -> String {
        bus(self.slot)
    }

    /// Its number on that bus, in QEMU's notation.
    pub fn address(self) -> String {
        format!("{:#x}", self.behind)
    }

    /// A name for what is behind the device, which no other has.
    pub fn backing(self) -> String {
        format!("{}-{:02x}-backing", self.bus(), self.behind)
    }

    /// Where the guest finds the device.
    pub fn path(self) -> PciPath {
        PciPath::from_slots(&[self.slot, self.behind])
    }
}

/// The name of the bus behind a slot of the root bus.
pub fn bus(slot: u32) -> String {
    format!("port-{slot:02x}")
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
    fn places_behind_bridges_follow_the_ports_and_each_is_one() {
        let last_port = Port::nth(crate::qemu::MAX_PCIE_ROOT_PORTS - 1);
        assert!(last_port.slot() < BRIDGE_SLOTS[0]);
        let all = BRIDGE_SLOTS.len() as u32 * BEHIND_BRIDGE;
        let places: std::collections::BTreeSet<_> = (0..all).map(Port::behind_bridge).collect();
        assert_eq!(places.len() as u32, all);
        assert_eq!(Port::behind_bridge(0).path().to_string(), "1c/01");
        assert_eq!(Port::behind_bridge(61).path().to_string(), "1d/1f");
        let longest = places.iter().map(|place| place.backing().len()).max();
        assert!(
            longest < Some(32),
            "QEMU's names of block nodes have 31 bytes"
        );
    }

    #[test]
    fn disk_slots_are_functions_below_the_ports() {
        assert_eq!(disk_slot_path(0).to_string(), "06");
        assert_eq!(disk_slot_path(9).to_string(), "07.1");
        assert!(disk_slot(MAX_DISK_SLOTS - 1).0 < FIRST_PORT_SLOT);
        assert_eq!(nic_path().to_string(), "05");
    }
}

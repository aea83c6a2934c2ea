//! The content of a network namespace, as plain values.

use std::net::IpAddr;

/// The parts of a network namespace that its pod needs.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Discovered {
    /// Its interfaces, the loopback among them.
    pub links: Vec<Link>,
    /// Its unicast routes of the main table, without those the kernel makes by itself.
    pub routes: Vec<Route>,
    /// Its neighbours with a MAC address.
    pub neighbours: Vec<Neighbour>,
    /// What cannot be configured in a guest, each as a phrase for the log.
    pub left_out: Vec<String>,
}

/// A network interface of the namespace.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Link {
    /// The kernel's number for it.
    pub index: u32,
    /// The interface's name, as in `eth0`.
    pub name: String,
    /// The kernel's name for its kind (`veth`, `macvlan`, ...); `None` for a physical device.
    pub kind: Option<String>,
    /// Whether it carries Ethernet frames.
    pub ethernet: bool,
    /// Whether it is a loopback.
    pub loopback: bool,
    /// Whether it has address resolution switched off.
    pub no_arp: bool,
    /// Hardware address, 6 bytes for Ethernet.
    pub mac: Vec<u8>,
    /// Largest packet, in bytes.
    pub mtu: u32,
    /// The interface's own addresses.
    pub addresses: Vec<Address>,
}

/// An address of an interface.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Address {
    /// The address itself, without a prefix.
    pub ip: IpAddr,
    /// Length of the network's prefix, in bits.
    pub prefix: u8,
}

/// A unicast route of the main table.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Route {
    /// Number of the interface it leads through.
    pub link: u32,
    /// Whether it is an IPv6 route.
    pub v6: bool,
    /// Where it leads; `None` is the default route.
    pub destination: Option<Address>,
    /// The next hop; `None` on the link itself.
    pub gateway: Option<IpAddr>,
    /// Preferred source address, if the route has one.
    pub source: Option<IpAddr>,
    /// Scope of the destination (rtnetlink(7), `rtm_scope`).
    pub scope: u8,
    /// Flags of its next hop (`RTNH_F_*`).
    pub flags: u32,
    /// Largest packet, in bytes; 0 is the interface's.
    pub mtu: u32,
}

/// An entry of the neighbour table.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Neighbour {
    /// Number of the interface it is reached through.
    pub link: u32,
    /// The neighbour's IP address.
    pub ip: IpAddr,
    /// Hardware address, 6 bytes for Ethernet.
    pub mac: Vec<u8>,
    /// State of the entry (rtnetlink(7), `NUD_*`).
    pub state: u16,
    /// Flags of the entry (rtnetlink(7), `NTF_*`).
    pub flags: u8,
}

impl Link {
    /// The kernel's name for its kind, or "device" for a physical one.
    #[must_use]
    pub fn kind_name(&self) -> &str {
        self.kind.as_deref().unwrap_or("device")
    }
}

/// A hardware address as text: `02:00:00:00:00:01`.
pub(super) fn mac_text(mac: &[u8]) -> String {
    let octets: Vec<String> = mac.iter().map(|octet| format!("{octet:02x}")).collect();
    octets.join(":")
}

//! What is in a network namespace, as plain values.

use std::net::IpAddr;

/// What matters of a network namespace to its pod.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Discovered {
    /// Its interfaces, the loopback among them.
    pub links: Vec<Link>,
    /// Its unicast routes of the main table, without those the kernel makes by itself.
    pub routes: Vec<Route>,
    /// Its neighbours with a MAC address.
    pub neighbours: Vec<Neighbour>,
    /// What was there and cannot be told to a guest, in words.
    pub left_out: Vec<String>,
}

/// A network interface.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Link {
    /// The kernel's number for it.
    pub index: u32,
    /// Its name.
    pub name: String,
    /// The kernel's name for its kind (`veth`, `macvlan`, ...); `None` is a device of its own.
    pub kind: Option<String>,
    /// Whether it carries Ethernet frames.
    pub ethernet: bool,
    /// Whether it is a loopback.
    pub loopback: bool,
    /// Whether it has address resolution switched off.
    pub no_arp: bool,
    /// Its hardware address.
    pub mac: Vec<u8>,
    /// Largest packet, in bytes.
    pub mtu: u32,
    /// Its addresses.
    pub addresses: Vec<Address>,
}

/// An address of an interface.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Address {
    /// The address.
    pub ip: IpAddr,
    /// Length of its network's prefix.
    pub prefix: u8,
}

/// A unicast route.
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
    /// Preferred source address.
    pub source: Option<IpAddr>,
    /// Scope (rtnetlink(7), `rtm_scope`).
    pub scope: u8,
    /// Flags of its next hop (`RTNH_F_*`).
    pub flags: u32,
    /// Largest packet, in bytes; 0 is the interface's.
    pub mtu: u32,
}

/// A neighbour.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Neighbour {
    /// Number of the interface it is reached through.
    pub link: u32,
    /// Its address.
    pub ip: IpAddr,
    /// Its hardware address.
    pub mac: Vec<u8>,
    /// State (rtnetlink(7), `NUD_*`).
    pub state: u16,
    /// Flags (rtnetlink(7), `NTF_*`).
    pub flags: u8,
}

impl Link {
    /// The kernel's name for its kind, for a person.
    #[must_use]
    pub fn kind_name(&self) -> &str {
        self.kind.as_deref().unwrap_or("device")
    }
}

/// A hardware address as people write it.
pub(super) fn mac_text(mac: &[u8]) -> String {
    let octets: Vec<String> = mac.iter().map(|octet| format!("{octet:02x}")).collect();
    octets.join(":")
}

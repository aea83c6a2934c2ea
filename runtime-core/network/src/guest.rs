//! The network as messages to the guest's agent.

use std::net::IpAddr;

use agent_client::{
    agent::{ARPNeighbors, Routes},
    types::{ARPNeighbor, IPAddress, IPFamily, Interface, Route as GuestRoute},
};
use hypervisors::PciPath;
use nix::libc;

use super::{Discovered, Link, Neighbour, Route, model::mac_text};

/// `NUD_REACHABLE` and `NUD_PERMANENT` (rtnetlink(7)).
const REACHABLE: u16 = 0x02;
const PERMANENT: u16 = 0x80;

/// The configuration of the guest's interface on the device at `pci`.
pub(super) fn interface(link: &Link, pci: &PciPath) -> Interface {
    let addresses = link
        .addresses
        .iter()
        .filter(|address| !address.ip.is_loopback());
    Interface {
        device: link.name.clone(),
        name: link.name.clone(),
        IPAddresses: addresses
            .map(|own| address(own.ip, Some(own.prefix)))
            .collect(),
        mtu: link.mtu.into(),
        hwAddr: mac_text(&link.mac),
        devicePath: pci.to_string(),
        type_: endpoint(link).to_owned(),
        raw_flags: if link.no_arp {
            libc::IFF_NOARP.cast_unsigned()
        } else {
            0
        },
        ..Default::default()
    }
}

/// The agent's word for the kind of an interface.
fn endpoint(link: &Link) -> &str {
    match link.kind.as_deref() {
        Some("veth") => "virtual",
        Some(kind @ ("ipvlan" | "macvlan" | "macvtap")) => kind,
        Some("tun") => "tuntap",
        Some(_) => "virtual",
        None => "physical",
    }
}

/// The routes through `links`.
pub(super) fn routes(found: &Discovered, links: &[&Link]) -> Routes {
    let routes = found.routes.iter().filter_map(|route| {
        let link = links.iter().find(|link| link.index == route.link)?;
        Some(guest_route(route, &link.name))
    });
    Routes {
        Routes: routes.collect(),
        ..Default::default()
    }
}

fn guest_route(route: &Route, device: &str) -> GuestRoute {
    let text = |ip: Option<IpAddr>| ip.map(|ip| ip.to_string()).unwrap_or_default();
    let destination = route.destination.filter(|to| to.prefix != 0);
    GuestRoute {
        dest: destination
            .map(|to| format!("{}/{}", to.ip, to.prefix))
            .unwrap_or_default(),
        gateway: text(route.gateway),
        device: device.to_owned(),
        source: text(route.source),
        scope: route.scope.into(),
        family: family(route.v6).into(),
        // Other flags are the state of the next hop on the host.
        flags: route.flags & ONLINK,
        mtu: route.mtu,
        ..Default::default()
    }
}

/// `RTNH_F_ONLINK` (linux/rtnetlink.h): the gateway is on the link although no address covers it.
const ONLINK: u32 = 4;

/// The neighbours on `links` that the guest cannot resolve by itself, which are the permanent ones,
/// and the default gateway if it is reachable, to save time.
pub(super) fn neighbours(found: &Discovered, links: &[&Link]) -> ARPNeighbors {
    let gateways: Vec<(u32, IpAddr)> = found
        .routes
        .iter()
        .filter(|route| route.destination.is_none_or(|to| to.prefix == 0))
        .filter_map(|route| Some((route.link, route.gateway?)))
        .collect();
    let wanted = |neighbour: &&Neighbour| {
        neighbour.state & PERMANENT != 0
            || neighbour.state & REACHABLE != 0
                && gateways.contains(&(neighbour.link, neighbour.ip))
    };
    let neighbours = found
        .neighbours
        .iter()
        .filter(wanted)
        .filter_map(|neighbour| {
            let link = links.iter().find(|link| link.index == neighbour.link)?;
            Some(ARPNeighbor {
                toIPAddress: Some(address(neighbour.ip, None)).into(),
                device: link.name.clone(),
                lladdr: mac_text(&neighbour.mac),
                state: neighbour.state.into(),
                flags: neighbour.flags.into(),
                ..Default::default()
            })
        });
    ARPNeighbors {
        ARPNeighbors: neighbours.collect(),
        ..Default::default()
    }
}

fn address(ip: IpAddr, prefix: Option<u8>) -> IPAddress {
    IPAddress {
        family: family(ip.is_ipv6()).into(),
        address: ip.to_string(),
        mask: prefix.map(|prefix| prefix.to_string()).unwrap_or_default(),
        ..Default::default()
    }
}

fn family(v6: bool) -> IPFamily {
    if v6 { IPFamily::v6 } else { IPFamily::v4 }
}

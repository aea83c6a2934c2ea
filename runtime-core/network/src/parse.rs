//! Turns the kernel's messages into plain values.

use std::net::IpAddr;

use rtnetlink::packet_route::{
    AddressFamily,
    address::{AddressAttribute, AddressMessage},
    link::{LinkAttribute, LinkFlags, LinkInfo, LinkLayerType, LinkMessage},
    neighbour::{NeighbourAddress, NeighbourAttribute, NeighbourMessage},
    route::{
        RouteAddress, RouteAttribute, RouteHeader, RouteMessage, RouteMetric, RouteProtocol,
        RouteType,
    },
};

use super::{Address, Link, Neighbour, Route};

/// The interfaces, sorted by name.
pub(super) fn links(messages: Vec<LinkMessage>) -> Vec<Link> {
    let mut links: Vec<Link> = messages.into_iter().map(link).collect();
    links.sort_by(|a, b| a.name.cmp(&b.name));
    links
}

fn link(message: LinkMessage) -> Link {
    let header = message.header;
    let mut link = Link {
        index: header.index,
        name: String::new(),
        kind: None,
        ethernet: header.link_layer_type == LinkLayerType::Ether,
        loopback: header.flags.contains(LinkFlags::Loopback),
        no_arp: header.flags.contains(LinkFlags::Noarp),
        mac: Vec::new(),
        mtu: 0,
        addresses: Vec::new(),
    };
    for attribute in message.attributes {
        match attribute {
            LinkAttribute::IfName(name) => link.name = name,
            LinkAttribute::Address(mac) => link.mac = mac,
            LinkAttribute::Mtu(mtu) => link.mtu = mtu,
            LinkAttribute::LinkInfo(info) => {
                link.kind = info.iter().find_map(|info| match info {
                    LinkInfo::Kind(kind) => Some(kind.to_string()),
                    _ => None,
                });
            }
            _ => {}
        }
    }
    link
}

/// Adds the addresses to their interfaces.
pub(super) fn add_addresses(links: &mut [Link], messages: Vec<AddressMessage>) {
    for message in messages {
        let Some(ip) = own_address(&message.attributes) else {
            continue;
        };
        let address = Address {
            ip,
            prefix: message.header.prefix_len,
        };
        if let Some(link) = links
            .iter_mut()
            .find(|link| link.index == message.header.index)
        {
            link.addresses.push(address);
        }
    }
}

/// On a point-to-point link the first attribute is the peer's address (rtnetlink(7)).
fn own_address(attributes: &[AddressAttribute]) -> Option<IpAddr> {
    let local = attributes.iter().find_map(|attribute| match attribute {
        AddressAttribute::Local(ip) => Some(*ip),
        _ => None,
    });
    local.or_else(|| {
        attributes.iter().find_map(|attribute| match attribute {
            AddressAttribute::Address(ip) => Some(*ip),
            _ => None,
        })
    })
}

/// A route for a guest; `None` if the guest's kernel makes it by itself or does not need it. The
/// error describes a route that a guest needs and the agent's API cannot express.
pub(super) fn route(message: &RouteMessage) -> Result<Option<Route>, String> {
    let header = &message.header;
    let main = u32::from(RouteHeader::RT_TABLE_MAIN);
    if table(message) != main || header.protocol == RouteProtocol::Kernel {
        return Ok(None);
    }
    let v6 = match header.address_family {
        AddressFamily::Inet => false,
        AddressFamily::Inet6 => true,
        _ => return Ok(None),
    };
    let mut route = Route {
        link: 0,
        v6,
        destination: None,
        gateway: None,
        source: None,
        scope: header.scope.into(),
        flags: header.flags.bits(),
        mtu: 0,
    };
    for attribute in &message.attributes {
        match attribute {
            RouteAttribute::Oif(index) => route.link = *index,
            RouteAttribute::Destination(to) => {
                let prefix = header.destination_prefix_length;
                route.destination = address(to).map(|ip| Address { ip, prefix });
            }
            RouteAttribute::Gateway(via) => route.gateway = address(via),
            RouteAttribute::PrefSource(ip) => route.source = address(ip),
            RouteAttribute::Metrics(metrics) => {
                route.mtu = metrics.iter().find_map(mtu).unwrap_or_default();
            }
            RouteAttribute::MultiPath(_) => return Err(describe(&route, "with several next hops")),
            RouteAttribute::Via(_) => {
                return Err(describe(&route, "through another address family"));
            }
            _ => {}
        }
    }
    if header.kind != RouteType::Unicast {
        return Err(describe(&route, "that is not unicast"));
    }
    Ok(Some(route))
}

fn describe(route: &Route, why: &str) -> String {
    match route.destination {
        Some(Address { ip, prefix }) => format!("route to {ip}/{prefix} {why}"),
        None => format!("default route {why}"),
    }
}

/// Tables above 255 are named by an attribute.
fn table(message: &RouteMessage) -> u32 {
    let named = message
        .attributes
        .iter()
        .find_map(|attribute| match attribute {
            RouteAttribute::Table(table) => Some(*table),
            _ => None,
        });
    named.unwrap_or(message.header.table.into())
}

fn mtu(metric: &RouteMetric) -> Option<u32> {
    match metric {
        RouteMetric::Mtu(mtu) => Some(*mtu),
        _ => None,
    }
}

fn address(address: &RouteAddress) -> Option<IpAddr> {
    match address {
        RouteAddress::Inet(ip) => Some((*ip).into()),
        RouteAddress::Inet6(ip) => Some((*ip).into()),
        _ => None,
    }
}

/// A neighbour with a MAC address.
pub(super) fn neighbour(message: &NeighbourMessage) -> Option<Neighbour> {
    let attributes = &message.attributes;
    let ip = attributes.iter().find_map(|attribute| match attribute {
        NeighbourAttribute::Destination(NeighbourAddress::Inet(ip)) => Some(IpAddr::from(*ip)),
        NeighbourAttribute::Destination(NeighbourAddress::Inet6(ip)) => Some(IpAddr::from(*ip)),
        _ => None,
    })?;
    let mac = attributes.iter().find_map(|attribute| match attribute {
        NeighbourAttribute::LinkLayerAddress(mac) if !mac.is_empty() => Some(mac.clone()),
        _ => None,
    })?;
    Some(Neighbour {
        link: message.header.ifindex,
        ip,
        mac,
        state: message.header.state.into(),
        flags: message.header.flags.bits(),
    })
}

//! Reads the interfaces, addresses, routes and neighbours of a network namespace.

use rtnetlink::packet_route::{AddressFamily, route::RouteMessage};

use super::{Discovered, NetworkError, netlink::Netlink, parse};

/// Reads everything once. Later changes are not noticed.
pub(super) async fn discover(netlink: &Netlink) -> Result<Discovered, NetworkError> {
    let handle = netlink.handle();
    let links = netlink
        .list("interfaces", handle.link().get().execute())
        .await?;
    let addresses = netlink
        .list("addresses", handle.address().get().execute())
        .await?;
    let mut found = Discovered {
        links: parse::links(links),
        ..Discovered::default()
    };
    parse::add_addresses(&mut found.links, addresses);
    if found.links.iter().all(|link| link.loopback) {
        return Ok(found);
    }
    for family in [AddressFamily::Inet, AddressFamily::Inet6] {
        let routes = handle.route().get(wanted_routes(family)).execute();
        for message in netlink.list("routes", routes).await? {
            match parse::route(&message) {
                Ok(route) => found.routes.extend(route),
                Err(what) => found.left_out.push(what),
            }
        }
        let neighbours = handle
            .neighbours()
            .get()
            .set_address_family(family)
            .execute();
        let neighbours = netlink.list("neighbours", neighbours).await?;
        found
            .neighbours
            .extend(neighbours.iter().filter_map(parse::neighbour));
    }
    Ok(found)
}

fn wanted_routes(family: AddressFamily) -> RouteMessage {
    let mut message = RouteMessage::default();
    message.header.address_family = family;
    message
}

//! Routes of the main table.

use std::net::IpAddr;

use agent_client::types::{IPFamily, Route};
use futures::TryStreamExt;
use rtnetlink::{
    RouteMessageBuilder,
    packet_route::{
        AddressFamily,
        route::{
            RouteAddress, RouteAttribute, RouteFlags, RouteHeader, RouteMessage, RouteMetric,
            RouteProtocol, RouteScope, RouteType,
        },
    },
};

use super::{Refused, address, connect, family, index_of, ipv6, link};
use crate::error::{Error, Result};

/// Adds or replaces routes. Those without a gateway come first: the others may need them.
///
/// # Errors
///
/// When an interface does not exist, or the kernel refuses a route. Those before it stay.
pub async fn add_routes(routes: &[Route]) -> Result<()> {
    let handle = connect()?;
    let (direct, by_gateway): (Vec<_>, Vec<_>) =
        routes.iter().partition(|route| route.gateway.is_empty());
    for route in direct.into_iter().chain(by_gateway) {
        let message = message(route)?;
        let v6 = message.header.address_family == AddressFamily::Inet6;
        if v6 && ipv6::is_off(&route.device) {
            continue;
        }
        handle
            .route()
            .add(message)
            .replace()
            .execute()
            .await
            .refused(|| {
                format!(
                    "add the route to {:?} by the gateway {:?}",
                    route.dest, route.gateway
                )
            })?;
    }
    Ok(())
}

fn message(route: &Route) -> Result<RouteMessage> {
    let v6 = route.family.enum_value_or_default() == IPFamily::v6;
    let (destination, length) = match route.dest.as_str() {
        "" | "default" => address::default_destination(v6),
        dest => address::parse_prefix(dest)?,
    };
    let mut builder = RouteMessageBuilder::<IpAddr>::new()
        .destination_prefix(destination, length)
        .map_err(invalid)?
        .output_interface(index_of(&route.device)?)
        .protocol(RouteProtocol::Boot)
        .kind(RouteType::Unicast)
        .scope(RouteScope::from(
            u8::try_from(route.scope).unwrap_or_default(),
        ));
    if !route.gateway.is_empty() {
        builder = builder
            .gateway(address::parse(&route.gateway)?)
            .map_err(invalid)?;
    }
    if !route.source.is_empty() {
        builder = builder
            .pref_source(address::parse(&route.source)?)
            .map_err(invalid)?;
    }
    let mut message = builder.build();
    message.header.table = RouteHeader::RT_TABLE_MAIN;
    message.header.flags |= RouteFlags::from_bits_truncate(route.flags) & RouteFlags::Onlink;
    if route.mtu > 0 {
        message
            .attributes
            .push(RouteAttribute::Metrics(vec![RouteMetric::Mtu(route.mtu)]));
    }
    Ok(message)
}

fn invalid(mismatch: impl std::fmt::Display) -> Error {
    Error::Invalid(mismatch.to_string())
}

/// The IPv4 and IPv6 routes of the main table.
///
/// # Errors
///
/// When the kernel refuses to list them.
pub async fn list_routes() -> Result<Vec<Route>> {
    let handle = connect()?;
    let names = link::list_names(&handle).await?;
    let mut routes = Vec::new();
    for filter in [
        RouteMessageBuilder::<std::net::Ipv4Addr>::new().build(),
        RouteMessageBuilder::<std::net::Ipv6Addr>::new().build(),
    ] {
        let found: Vec<RouteMessage> = handle
            .route()
            .get(filter)
            .execute()
            .try_collect()
            .await
            .refused(|| "list routes".into())?;
        let main = found
            .iter()
            .filter(|one| one.header.table == RouteHeader::RT_TABLE_MAIN);
        routes.extend(main.map(|one| describe(one, &names)));
    }
    Ok(routes)
}

fn describe(message: &RouteMessage, names: &[(u32, String)]) -> Route {
    let mut route = Route {
        scope: u8::from(message.header.scope).into(),
        flags: message.header.flags.bits(),
        ..Default::default()
    };
    for attribute in &message.attributes {
        match attribute {
            RouteAttribute::Destination(to) => {
                let length = message.header.destination_prefix_length;
                route.dest = text(to)
                    .map(|to| format!("{to}/{length}"))
                    .unwrap_or_default();
            }
            RouteAttribute::Gateway(by) => {
                route.gateway = text(by).map(|by| by.to_string()).unwrap_or_default();
            }
            RouteAttribute::PrefSource(from) => {
                route.source = text(from).map(|from| from.to_string()).unwrap_or_default();
            }
            RouteAttribute::Oif(index) => {
                let name = names.iter().find(|(known, _)| known == index);
                route.device = name.map(|(_, name)| name.clone()).unwrap_or_default();
            }
            RouteAttribute::Metrics(metrics) => {
                route.mtu = metrics
                    .iter()
                    .find_map(|metric| match metric {
                        RouteMetric::Mtu(mtu) => Some(*mtu),
                        _ => None,
                    })
                    .unwrap_or(0);
            }
            _ => {}
        }
    }
    let v6 = message.header.address_family == AddressFamily::Inet6;
    route.family = family(address::default_destination(v6).0).into();
    route
}

fn text(address: &RouteAddress) -> Option<IpAddr> {
    match address {
        RouteAddress::Inet(v4) => Some((*v4).into()),
        RouteAddress::Inet6(v6) => Some((*v6).into()),
        _ => None,
    }
}

//! What a guest is sent.

use agent_client::types::IPFamily;

use super::{address, ip, veth};
use crate::{Discovered, Link, Neighbour, Route, guest};

fn route(link: u32, destination: Option<&str>, gateway: Option<&str>) -> Route {
    Route {
        link,
        v6: destination
            .or(gateway)
            .is_some_and(|text| text.contains(':')),
        destination: destination.map(address),
        gateway: gateway.map(ip),
        source: None,
        scope: if gateway.is_some() { 0 } else { 253 },
        flags: 0,
        mtu: 0,
    }
}

fn neighbour(link: u32, at: &str, state: u16) -> Neighbour {
    Neighbour {
        link,
        ip: ip(at),
        mac: vec![0x0a, 1, 2, 3, 4, 0xff],
        state,
        flags: 0,
    }
}

#[test]
fn an_interface_is_sent_whole() {
    let link = Link {
        no_arp: true,
        ..veth(2, "eth0", &["10.0.0.2/24", "fd00::2/64", "127.0.0.9/8"])
    };
    let sent = guest::interface(&link, &"09/00".parse().unwrap());
    assert_eq!((sent.device.as_str(), sent.name.as_str()), ("eth0", "eth0"));
    assert_eq!(sent.hwAddr, "02:00:00:00:00:02");
    assert_eq!(sent.devicePath, "09/00");
    assert_eq!(
        (sent.mtu, sent.type_.as_str(), sent.raw_flags),
        (1400, "virtual", 0x80)
    );
    let addresses: Vec<_> = sent
        .IPAddresses
        .iter()
        .map(|own| (own.family.unwrap(), own.address.as_str(), own.mask.as_str()))
        .collect();
    assert_eq!(
        addresses,
        [
            (IPFamily::v4, "10.0.0.2", "24"),
            (IPFamily::v6, "fd00::2", "64")
        ]
    );
}

#[test]
fn routes_are_sent_with_the_name_of_their_interface() {
    let (eth0, net1) = (veth(2, "eth0", &[]), veth(3, "net1", &[]));
    let found = Discovered {
        routes: vec![
            route(2, None, Some("10.0.0.1")),
            Route {
                flags: 4 | 16,
                mtu: 1300,
                ..route(2, Some("169.254.1.1/32"), None)
            },
            Route {
                source: Some(ip("fd01::2")),
                ..route(3, Some("fd02::/48"), Some("fd01::1"))
            },
            route(9, Some("10.9.0.0/16"), None),
            Route {
                destination: Some(address("::/0")),
                v6: true,
                ..route(3, None, Some("fd01::1"))
            },
        ],
        ..Discovered::default()
    };
    let sent = guest::routes(&found, &[&eth0, &net1]).Routes;
    let texts: Vec<_> = sent
        .iter()
        .map(|to| {
            (
                to.dest.as_str(),
                to.gateway.as_str(),
                to.device.as_str(),
                to.source.as_str(),
            )
        })
        .collect();
    assert_eq!(
        texts,
        [
            ("", "10.0.0.1", "eth0", ""),
            ("169.254.1.1/32", "", "eth0", ""),
            ("fd02::/48", "fd01::1", "net1", "fd01::2"),
            ("", "fd01::1", "net1", ""),
        ]
    );
    assert_eq!((sent[1].flags, sent[1].mtu, sent[1].scope), (4, 1300, 253));
    assert_eq!(sent[3].family.unwrap(), IPFamily::v6);
}

#[test]
fn only_neighbours_that_the_guest_cannot_find_are_sent() {
    let eth0 = veth(2, "eth0", &[]);
    let found = Discovered {
        routes: vec![route(2, None, Some("10.0.0.1"))],
        neighbours: vec![
            neighbour(2, "169.254.1.1", 0x80),
            neighbour(2, "10.0.0.1", 0x02),
            neighbour(2, "10.0.0.7", 0x02),
            neighbour(2, "10.0.0.8", 0x04),
            neighbour(5, "10.0.0.9", 0x80),
        ],
        ..Discovered::default()
    };
    let sent = guest::neighbours(&found, &[&eth0]).ARPNeighbors;
    let texts: Vec<_> = sent
        .iter()
        .map(|one| {
            (
                one.toIPAddress.address.as_str(),
                one.lladdr.as_str(),
                one.state,
            )
        })
        .collect();
    assert_eq!(
        texts,
        [
            ("169.254.1.1", "0a:01:02:03:04:ff", 0x80),
            ("10.0.0.1", "0a:01:02:03:04:ff", 0x02)
        ]
    );
}

//! Which interfaces a VM gets.

use super::{loopback, veth};
use crate::{Discovered, Link, NetworkError, plan};

fn found(links: Vec<Link>) -> Discovered {
    Discovered {
        links,
        ..Discovered::default()
    }
}

#[test]
fn an_empty_namespace_gives_no_interface() {
    for links in [vec![], vec![loopback()]] {
        let plan = plan(&found(links)).unwrap();
        assert!(plan.attachments.is_empty());
        assert!(plan.left_out.is_empty());
    }
}

#[test]
fn every_interface_with_an_address_gets_a_device_of_its_own() {
    let eth0 = veth(2, "eth0", &["10.0.0.2/24"]);
    let net1 = veth(3, "net1", &["fd00::2/64"]);
    let plan = plan(&found(vec![eth0.clone(), loopback(), net1.clone()])).unwrap();
    let made: Vec<_> = plan
        .attachments
        .iter()
        .map(|made| (&made.link, made.nic.as_str()))
        .collect();
    assert_eq!(made, [(&eth0, "nic0"), (&net1, "nic1")]);
}

#[test]
fn without_an_address_there_is_nothing_to_carry_over() {
    let plan = plan(&found(vec![
        veth(2, "bond0p1", &[]),
        veth(3, "eth0", &["10.0.0.2/24"]),
    ]));
    let plan = plan.unwrap();
    assert_eq!(plan.attachments.len(), 1);
    assert_eq!(plan.attachments[0].nic, "nic0");
    assert_eq!(plan.left_out, ["interface bond0p1 without an address"]);
}

#[test]
fn a_tunnel_with_an_address_is_refused_by_name_and_one_without_is_left_out() {
    let tunnel = Link {
        kind: Some("wireguard".into()),
        ethernet: false,
        mac: vec![],
        ..veth(4, "wg0", &["10.1.0.2/32"])
    };
    let error = plan(&found(vec![tunnel.clone()])).unwrap_err();
    assert!(matches!(error, NetworkError::NotEthernet { .. }));
    assert_eq!(
        error.to_string(),
        "Interface wg0 of kind wireguard cannot be given to a virtual machine: it is not an \
         Ethernet device"
    );
    let idle = Link {
        addresses: vec![],
        ..tunnel
    };
    assert!(plan(&found(vec![idle])).unwrap().attachments.is_empty());
}

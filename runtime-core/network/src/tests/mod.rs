//! Decisions and translations, without a kernel.

mod guest;
mod planning;
mod redirection;

use std::net::IpAddr;

use super::{Address, Link};

fn ip(text: &str) -> IpAddr {
    text.parse().unwrap()
}

fn address(text: &str) -> Address {
    let (ip, prefix) = text.split_once('/').unwrap();
    Address {
        ip: ip.parse().unwrap(),
        prefix: prefix.parse().unwrap(),
    }
}

fn veth(index: u32, name: &str, addresses: &[&str]) -> Link {
    Link {
        index,
        name: name.into(),
        kind: Some("veth".into()),
        ethernet: true,
        loopback: false,
        no_arp: false,
        mac: vec![2, 0, 0, 0, 0, u8::try_from(index).unwrap()],
        mtu: 1400,
        addresses: addresses.iter().map(|text| address(text)).collect(),
    }
}

fn loopback() -> Link {
    Link {
        kind: None,
        ethernet: false,
        loopback: true,
        mac: vec![0; 6],
        ..veth(1, "lo", &["127.0.0.1/8", "::1/128"])
    }
}

//! Addresses as the API writes them.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use crate::error::{Error, Result};

/// Parses an IP address. A prefix length behind it is ignored.
pub fn parse(text: &str) -> Result<IpAddr> {
    let address = text.split('/').next().unwrap_or_default();
    address
        .parse()
        .map_err(|_| Error::Invalid(format!("{text:?} is not an IP address")))
}

/// Parses an address with a prefix length, such as `10.0.0.0/8`. Without a length it is one host.
pub fn parse_prefix(text: &str) -> Result<(IpAddr, u8)> {
    let address = parse(text)?;
    let length = match text.split_once('/') {
        Some((_, length)) => prefix_length(address, length)?,
        None => longest(address),
    };
    Ok((address, length))
}

/// Parses a prefix length, in bits, for the family of `address`.
pub fn prefix_length(address: IpAddr, text: &str) -> Result<u8> {
    text.parse()
        .ok()
        .filter(|length| *length <= longest(address))
        .ok_or_else(|| Error::Invalid(format!("{text:?} is not a prefix length for {address}")))
}

fn longest(address: IpAddr) -> u8 {
    if address.is_ipv4() { 32 } else { 128 }
}

/// The destination of a default route, `0.0.0.0/0` or `::/0`.
pub fn default_destination(v6: bool) -> (IpAddr, u8) {
    if v6 {
        (Ipv6Addr::UNSPECIFIED.into(), 0)
    } else {
        (Ipv4Addr::UNSPECIFIED.into(), 0)
    }
}

/// Parses a MAC address, such as `02:00:00:00:00:01`.
pub fn parse_mac(text: &str) -> Result<Vec<u8>> {
    let bytes: Option<Vec<u8>> = text
        .split(':')
        .map(|byte| u8::from_str_radix(byte, 16).ok())
        .collect();
    bytes
        .filter(|bytes| bytes.len() == 6)
        .ok_or_else(|| Error::Invalid(format!("{text:?} is not a MAC address")))
}

/// Formats a MAC address as [`parse_mac`] reads it.
pub fn format_mac(bytes: &[u8]) -> String {
    let bytes: Vec<String> = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
    bytes.join(":")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_read_and_bounded() {
        assert_eq!(
            parse_prefix("10.1.0.0/16").unwrap(),
            ("10.1.0.0".parse().unwrap(), 16)
        );
        assert_eq!(
            parse_prefix("fd00::1").unwrap(),
            ("fd00::1".parse().unwrap(), 128)
        );
        for wrong in [
            "",
            "10.1.0.0/33",
            "10.1",
            "fd00::/129",
            "10.0.0.0/-1",
            "x/8",
        ] {
            assert!(parse_prefix(wrong).is_err(), "{wrong:?}");
        }
        let mac = parse_mac("02:00:00:aB:0c:01").unwrap();
        assert_eq!(format_mac(&mac), "02:00:00:ab:0c:01");
        assert!(parse_mac("02:00").is_err() && parse_mac("02:00:00:00:00:0g").is_err());
    }
}

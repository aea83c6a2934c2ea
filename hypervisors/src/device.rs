//! The names and addresses that a caller gives to devices, checked before a VMM sees them.

use crate::{Error, Result};

const ID_LIMIT: usize = 32;

/// The VMM's name for the device of this kind that the caller calls `id`.
pub fn device_name(kind: &str, id: &str) -> Result<String> {
    let mut characters = id.chars();
    let fits = id.len() <= ID_LIMIT
        && characters
            .next()
            .is_some_and(|first| first.is_ascii_alphabetic())
        && characters.all(|c| c.is_ascii_alphanumeric() || c == '_' || c == '-');
    if fits {
        Ok(format!("{kind}-{id}"))
    } else {
        Err(Error::InvalidSpec(format!(
            "{id:?} cannot identify a device"
        )))
    }
}

/// Checks the form `aa:bb:cc:dd:ee:ff`.
pub fn check_mac(mac: &str) -> Result<()> {
    let octet = |part: &str| part.len() == 2 && part.bytes().all(|b| b.is_ascii_hexdigit());
    let parts: Vec<&str> = mac.split(':').collect();
    if parts.len() == 6 && parts.iter().all(|part| octet(part)) {
        Ok(())
    } else {
        Err(Error::InvalidSpec(format!("{mac:?} is no MAC address")))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn identifiers_are_what_vmms_take() {
        assert_eq!(
            device_name("disk", "rootfs-1_a").unwrap(),
            "disk-rootfs-1_a"
        );
        for id in ["", "1a", "-a", "a,b", "a b", "ä", &"x".repeat(33)] {
            assert!(device_name("disk", id).is_err(), "{id}");
        }
    }

    #[test]
    fn mac_addresses_are_checked() {
        check_mac("02:00:5e:aB:00:01").unwrap();
        for mac in [
            "",
            "02:00:5e:00:00",
            "02:00:5e:00:00:0g",
            "02:00:5e:00:00:01:02",
            "0200:5e:0:0:1:2",
        ] {
            assert!(check_mac(mac).is_err(), "{mac}");
        }
    }
}

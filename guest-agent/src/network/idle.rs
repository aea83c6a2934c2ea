//! Network interfaces that have not been configured yet.

use std::{
    fs::{self, File},
    io::Read,
    os::fd::AsFd,
    path::Path,
};

use nix::sys::socket::{AddressFamily, SockFlag, SockType, socket};

use super::CLASS;
use crate::{
    error::{Doing, Result},
    syscalls,
};

/// Gives every Ethernet interface that is down a random MAC address. In a clone of a template they
/// have the template's, like in all its clones. An interface that becomes part of a network later
/// gets that network's address.
///
/// # Errors
///
/// When the kernel gives no random numbers, or an interface refuses its address.
pub fn randomize_idle_macs() -> Result<()> {
    let class = Path::new(CLASS);
    let names = fs::read_dir(class).on("list", class)?.flatten();
    let idle = names
        .filter(|entry| is_idle(&entry.path()))
        .filter_map(|entry| entry.file_name().into_string().ok());
    let socket = socket(
        AddressFamily::Inet,
        SockType::Datagram,
        SockFlag::SOCK_CLOEXEC,
        None,
    )
    .doing(|| "open a socket".into())?;
    for name in idle {
        syscalls::set_mac(socket.as_fd(), &name, random_mac()?)
            .doing(|| format!("set the MAC address of {name}"))?;
    }
    Ok(())
}

/// Whether the type is `ARPHRD_ETHER` and the flag `IFF_UP` (netdevice(7)) is not set.
pub(super) fn is_idle(interface: &Path) -> bool {
    let read = |name: &str| fs::read_to_string(interface.join(name)).unwrap_or_default();
    let flags = u32::from_str_radix(read("flags").trim().trim_start_matches("0x"), 16);
    read("type").trim() == "1" && flags.is_ok_and(|flags| flags & 1 == 0)
}

/// A locally administered unicast address (IEEE 802, 8.2.2).
fn random_mac() -> Result<[u8; 6]> {
    let mut mac = [0; 6];
    File::open("/dev/urandom")
        .and_then(|mut source| source.read_exact(&mut mac))
        .doing(|| "read /dev/urandom".into())?;
    mac[0] = mac[0] & 0xfc | 0x02;
    Ok(mac)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_ethernet_interfaces_that_are_down_are_idle() {
        let class = tempfile::tempdir().unwrap();
        for (name, kind, flags, idle) in [
            ("eth0", "1", "0x1002", true),
            ("eth1", "1", "0x1003", false),
            ("lo", "772", "0x8", false),
            ("broken", "1", "?", false),
        ] {
            let path = class.path().join(name);
            fs::create_dir(&path).unwrap();
            fs::write(path.join("type"), format!("{kind}\n")).unwrap();
            fs::write(path.join("flags"), format!("{flags}\n")).unwrap();
            assert_eq!(is_idle(&path), idle, "{name}");
        }
    }

    #[test]
    fn an_address_is_local_and_unicast() {
        let (one, other) = (random_mac().unwrap(), random_mac().unwrap());
        assert_ne!(one, other);
        assert_eq!(one[0] & 3, 2);
    }
}

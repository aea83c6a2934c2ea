//! Network interfaces.

use std::{fs, net::IpAddr, path::Path, time::Duration};

use agent_client::types::{IPAddress, Interface};
use futures::TryStreamExt;
use rtnetlink::{
    Handle, LinkMessageBuilder, LinkUnspec,
    packet_route::{
        address::{AddressAttribute, AddressHeaderFlags, AddressMessage, AddressScope},
        link::{LinkAttribute, LinkFlags, LinkMessage},
    },
};

use super::{CLASS, Refused, address, connect, family, idle, index_of, ipv6};
use crate::{
    error::{Error, Result},
    pci::{self, PciPath},
    uevent::Uevents,
};

/// `IFF_NOARP`, the only flag of the API that is applied.
const NO_ARP: u32 = 0x80;

/// Brings up the loopback interface.
///
/// # Errors
///
/// When the kernel refuses.
pub async fn bring_up_loopback() -> Result<()> {
    let up = LinkUnspec::new_with_index(index_of("lo")?).up();
    set(&connect()?, up, || "bring up the loopback".into()).await
}

/// Sets the name, MTU, MAC and IP addresses of an interface, and brings it up.
///
/// The interface is found by its PCI path if `wanted` has one, else by its MAC address, else by its
/// name. It may take as long as `timeout` to appear.
///
/// # Errors
///
/// When it does not appear in time, or the kernel refuses a change. Changes before that one stay.
pub async fn update_interface(
    uevents: &Uevents,
    timeout: Duration,
    wanted: &Interface,
) -> Result<()> {
    let found = find(uevents, timeout, wanted).await?;
    let handle = connect()?;
    let index = index_of(&found)?;
    let is_new = idle::is_idle(&Path::new(CLASS).join(&found));
    let name = match wanted.name.is_empty() {
        true => &found,
        false => &wanted.name,
    };
    if *name != found {
        rename(&handle, index, &found, name).await?;
    }
    set(&handle, changes(index, wanted)?, || {
        format!("set up {name}")
    })
    .await?;
    // An interface that is down has no addresses, unless an earlier call failed half-way.
    if !is_new {
        remove_addresses(&handle, index).await?;
    }
    add_addresses(&handle, index, name, &wanted.IPAddresses).await?;
    let up = LinkUnspec::new_with_index(index).up();
    set(&handle, up, || format!("bring up {name}")).await
}

/// The MAC address, MTU and ARP flag that `wanted` asks for.
fn changes(index: u32, wanted: &Interface) -> Result<LinkMessageBuilder<LinkUnspec>> {
    let mut changes = LinkUnspec::new_with_index(index);
    if !wanted.hwAddr.is_empty() {
        changes = changes.address(address::parse_mac(&wanted.hwAddr)?);
    }
    if wanted.mtu > 0 {
        let mtu = u32::try_from(wanted.mtu)
            .map_err(|_| Error::Invalid(format!("{} is not an MTU", wanted.mtu)))?;
        changes = changes.mtu(mtu);
    }
    if wanted.raw_flags & NO_ARP != 0 {
        changes = changes.arp(false);
    }
    Ok(changes)
}

async fn set(
    handle: &Handle,
    changes: LinkMessageBuilder<LinkUnspec>,
    doing: impl FnOnce() -> String,
) -> Result<()> {
    let request = handle.link().set(changes.build());
    request.execute().await.refused(doing)
}

/// Waits for the interface, and returns its present name.
async fn find(uevents: &Uevents, timeout: Duration, wanted: &Interface) -> Result<String> {
    if !wanted.devicePath.is_empty() {
        let path = PciPath::parse(&wanted.devicePath)?;
        let event = format!("a network interface at PCI path {}", wanted.devicePath);
        let find = || pci::network_interface(&path.find(Path::new(pci::DEVICES))?);
        return uevents.wait_for(&event, timeout, find).await;
    }
    let event = format!(
        "a network interface {:?} or {:?}",
        wanted.hwAddr, wanted.name
    );
    uevents
        .wait_for(&event, timeout, || by_mac_or_name(wanted))
        .await
}

fn by_mac_or_name(wanted: &Interface) -> Option<String> {
    let class = Path::new(CLASS);
    let names: Vec<String> = fs::read_dir(class)
        .ok()?
        .flatten()
        .filter_map(|entry| entry.file_name().into_string().ok())
        .collect();
    let mac = |name: &str| fs::read_to_string(class.join(name).join("address")).ok();
    names
        .iter()
        .find(|name| {
            mac(name).is_some_and(|found| found.trim().eq_ignore_ascii_case(&wanted.hwAddr))
        })
        .or_else(|| names.iter().find(|name| **name == wanted.name))
        .cloned()
}

/// Renames an interface. If another one has the name, the two swap their names.
async fn rename(handle: &Handle, index: u32, present: &str, name: &str) -> Result<()> {
    let set_name = async |index: u32, name: &str| {
        let down = LinkUnspec::new_with_index(index).down();
        set(handle, down, || format!("take down {name}")).await?;
        let named = LinkUnspec::new_with_index(index).name(name.to_owned());
        set(handle, named, || format!("rename an interface to {name}")).await
    };
    match index_of(name) {
        Ok(holder) => {
            set_name(index, &format!("swap{index}")).await?;
            set_name(holder, present).await?;
        }
        Err(Error::NotFound { .. }) => {}
        Err(error) => return Err(error),
    }
    set_name(index, name).await
}

async fn remove_addresses(handle: &Handle, index: u32) -> Result<()> {
    let present: Vec<AddressMessage> = handle
        .address()
        .get()
        .set_link_index_filter(index)
        .execute()
        .try_collect()
        .await
        .refused(|| "list addresses".into())?;
    for old in present
        .into_iter()
        .filter(|one| one.header.scope != AddressScope::Link)
    {
        handle
            .address()
            .del(old)
            .execute()
            .await
            .refused(|| "remove an address".into())?;
    }
    Ok(())
}

async fn add_addresses(
    handle: &Handle,
    index: u32,
    name: &str,
    wanted: &[IPAddress],
) -> Result<()> {
    for one in wanted {
        let ip = address::parse(&one.address)?;
        if ip.is_ipv6() && ipv6::is_off(name) {
            continue;
        }
        let length = address::prefix_length(ip, &one.mask)?;
        let mut request = handle.address().add(index, ip, length).replace();
        if ip.is_ipv6() {
            // The host ensures that the address is unique. Duplicate address detection takes a
            // second.
            request.message_mut().header.flags |= AddressHeaderFlags::Nodad;
        }
        request
            .execute()
            .await
            .refused(|| format!("add the address {ip}/{length}"))?;
    }
    Ok(())
}

/// The indices and names of all interfaces.
pub async fn list_names(handle: &Handle) -> Result<Vec<(u32, String)>> {
    let links: Vec<LinkMessage> = handle
        .link()
        .get()
        .execute()
        .try_collect()
        .await
        .refused(|| "list interfaces".into())?;
    let name = |link: &LinkMessage| {
        link.attributes
            .iter()
            .find_map(|attribute| match attribute {
                LinkAttribute::IfName(name) => Some(name.clone()),
                _ => None,
            })
    };
    Ok(links
        .iter()
        .filter_map(|link| Some((link.header.index, name(link)?)))
        .collect())
}

/// All interfaces except for the loopback, with their addresses.
///
/// # Errors
///
/// When the kernel refuses to list them.
pub async fn list_interfaces() -> Result<Vec<Interface>> {
    let handle = connect()?;
    let links: Vec<LinkMessage> = handle
        .link()
        .get()
        .execute()
        .try_collect()
        .await
        .refused(|| "list interfaces".into())?;
    let addresses: Vec<AddressMessage> = handle
        .address()
        .get()
        .execute()
        .try_collect()
        .await
        .refused(|| "list addresses".into())?;
    Ok(links
        .iter()
        .filter(|link| !link.header.flags.contains(LinkFlags::Loopback))
        .map(|link| describe(link, &addresses))
        .collect())
}

fn describe(link: &LinkMessage, addresses: &[AddressMessage]) -> Interface {
    let mut interface = Interface::new();
    for attribute in &link.attributes {
        match attribute {
            LinkAttribute::IfName(name) => interface.name.clone_from(name),
            LinkAttribute::Mtu(mtu) => interface.mtu = (*mtu).into(),
            LinkAttribute::Address(bytes) => interface.hwAddr = address::format_mac(bytes),
            _ => {}
        }
    }
    interface.device = interface.name.clone();
    interface.IPAddresses = addresses
        .iter()
        .filter(|one| one.header.index == link.header.index)
        .filter_map(|one| Some((address_of(one)?, one.header.prefix_len)))
        .map(|(ip, length)| IPAddress {
            family: family(ip).into(),
            address: ip.to_string(),
            mask: length.to_string(),
            ..Default::default()
        })
        .collect();
    interface
}

fn address_of(message: &AddressMessage) -> Option<IpAddr> {
    message
        .attributes
        .iter()
        .find_map(|attribute| match attribute {
            AddressAttribute::Address(ip) => Some(*ip),
            _ => None,
        })
}

//! Decides which interfaces the VM gets.

use super::{Discovered, Link, NetworkError};

/// Length of an Ethernet address.
const MAC_BYTES: usize = 6;

/// The interfaces that the VM gets, and those that it does not get.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Plan {
    /// One per interface that the VM gets, sorted by the interface's name.
    pub attachments: Vec<Attachment>,
    /// Interfaces that it does not get, with the reason, each as a phrase for the log.
    pub left_out: Vec<String>,
}

/// An interface that becomes a NIC of the VM.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Attachment {
    /// The interface that the CNI made.
    pub link: Link,
    /// Identifier of the NIC for the VMM, as in `nic0`.
    pub nic: String,
}

/// Plans NICs for all interfaces that have an address. One without an address is not finished by
/// the CNI, or is part of another; the guest has a loopback of its own. Traffic control redirects
/// every kind that carries Ethernet frames: veth, macvlan, ipvlan, bridge, VLAN, bond, or a
/// physical device.
///
/// # Errors
/// [`NetworkError::NotEthernet`]: a pod that misses one of its networks would be worse than none.
pub fn plan(found: &Discovered) -> Result<Plan, NetworkError> {
    let mut plan = Plan {
        attachments: Vec::new(),
        left_out: Vec::new(),
    };
    for link in found.links.iter().filter(|link| !link.loopback) {
        if link.addresses.is_empty() {
            plan.left_out
                .push(format!("interface {} without an address", link.name));
            continue;
        }
        if !link.ethernet || link.mac.len() != MAC_BYTES {
            return Err(NetworkError::NotEthernet {
                name: link.name.clone(),
                kind: link.kind_name().to_owned(),
            });
        }
        let number = plan.attachments.len();
        plan.attachments.push(Attachment {
            link: link.clone(),
            nic: format!("nic{number}"),
        });
    }
    Ok(plan)
}

//! Decides which interfaces the VM gets, and what is made for them.

use super::{Discovered, Link, NetworkError};

/// Length of an Ethernet address.
const MAC_BYTES: usize = 6;

/// What is to be made.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Plan {
    /// One per interface that the VM gets, sorted by the interface's name.
    pub attachments: Vec<Attachment>,
    /// Interfaces that it does not get, and why, in words.
    pub left_out: Vec<String>,
}

/// An interface and what it becomes in the VM.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Attachment {
    /// The CNI's interface.
    pub link: Link,
    /// Identifier of the VM's network interface, for the monitor.
    pub nic: String,
}

/// Plans for all interfaces that have an address: without one, the CNI has not finished it or it is
/// a part of another, and the loopback is the guest's own. Traffic control redirects whatever
/// carries Ethernet frames: veth, macvlan, ipvlan, bridge, VLAN, bond, or a device of its own.
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

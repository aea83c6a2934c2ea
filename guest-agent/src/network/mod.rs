//! The pod's network, set up through netlink. The guest's network namespace is the pod's.

mod address;
mod idle;
mod index;
mod ipv6;
mod link;
mod route;

use std::net::IpAddr;

use agent_client::types::{ARPNeighbor, IPFamily};
use rtnetlink::{Handle, packet_route::neighbour::NeighbourState};

use self::index::index_of;
pub use self::{
    idle::randomize_idle_macs,
    link::{bring_up_loopback, list_interfaces, update_interface},
    route::{add_routes, list_routes},
};
use crate::error::{Doing, Error, Result};

/// Where the kernel describes network interfaces.
const CLASS: &str = "/sys/class/net";

/// Opens a netlink connection. It stays open as long as the handle exists.
fn connect() -> Result<Handle> {
    let (connection, handle, _) =
        rtnetlink::new_connection().doing(|| "open a netlink connection".into())?;
    tokio::spawn(connection);
    Ok(handle)
}

/// Adds to a failed netlink request what was being done.
trait Refused<T> {
    /// `doing` completes the sentence "Could not …".
    fn refused(self, doing: impl FnOnce() -> String) -> Result<T>;
}

impl<T> Refused<T> for std::result::Result<T, rtnetlink::Error> {
    fn refused(self, doing: impl FnOnce() -> String) -> Result<T> {
        self.map_err(|source| Error::Netlink {
            doing: doing(),
            source: Box::new(source),
        })
    }
}

/// Adds or replaces entries of the ARP table.
///
/// # Errors
///
/// When an interface does not exist, or the kernel refuses an entry. Those before it stay.
pub async fn add_neighbours(neighbours: &[ARPNeighbor]) -> Result<()> {
    let handle = connect()?;
    for neighbour in neighbours {
        let address = address::parse(&neighbour.toIPAddress.get_or_default().address)?;
        let index = index_of(&neighbour.device)?;
        let mut request =
            handle
                .neighbours()
                .add(index, address)
                .replace()
                .state(NeighbourState::from(
                    u16::try_from(neighbour.state).unwrap_or_default(),
                ));
        if !neighbour.lladdr.is_empty() {
            request = request.link_layer_address(&address::parse_mac(&neighbour.lladdr)?);
        }
        request
            .execute()
            .await
            .refused(|| format!("add the neighbour {address}"))?;
    }
    Ok(())
}

fn family(address: IpAddr) -> IPFamily {
    if address.is_ipv4() {
        IPFamily::v4
    } else {
        IPFamily::v6
    }
}

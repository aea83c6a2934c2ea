//! Gives a VM its network interfaces, and its guest their configuration.

use std::time::{Duration, Instant};

use agent_client::{
    Agent,
    agent::{AddARPNeighborsRequest, UpdateInterfaceRequest, UpdateRoutesRequest},
    types::Interface,
};
use hypervisors::{NetSpec, Vm};

use super::{Attached, Link, NetworkError, guest, model::mac_text};

/// What plugging has cost.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct PlugPhases {
    /// The monitor took all interfaces.
    pub devices: Duration,
    /// The guest has found and configured all interfaces.
    pub interfaces: Duration,
    /// It has taken routes and neighbours.
    pub routes: Duration,
}

/// Plugs all interfaces of a namespace into a VM and has the guest configure them. The taps are
/// then the monitor's.
///
/// # Errors
/// The VM may have got some of them; it is of no use and should be ended.
pub async fn plug(
    attached: Attached,
    vm: &dyn Vm,
    agent: &Agent,
) -> Result<PlugPhases, NetworkError> {
    let mut phases = PlugPhases::default();
    if attached.taps.is_empty() {
        return Ok(phases);
    }
    let start = Instant::now();
    let (mut links, mut interfaces) = (Vec::new(), Vec::new());
    for (attachment, tap) in attached.taps {
        let link = attachment.link;
        let net = NetSpec {
            id: attachment.nic,
            mac: mac_text(&link.mac),
            tap,
        };
        let plugged = vm.add_net(net).await;
        let pci = plugged.map_err(|source| NetworkError::Plug {
            name: link.name.clone(),
            source,
        })?;
        interfaces.push(guest::interface(&link, &pci));
        links.push(link);
    }
    phases.devices = start.elapsed();

    let start = Instant::now();
    for interface in interfaces {
        configure(agent, interface).await?;
    }
    phases.interfaces = start.elapsed();

    let start = Instant::now();
    let links: Vec<&Link> = links.iter().collect();
    let routes = guest::routes(&attached.found, &links);
    if !routes.Routes.is_empty() {
        let request = UpdateRoutesRequest {
            routes: Some(routes).into(),
            ..Default::default()
        };
        agent
            .update_routes(request)
            .await
            .map_err(refused("routes"))?;
    }
    let neighbours = guest::neighbours(&attached.found, &links);
    if !neighbours.ARPNeighbors.is_empty() {
        let request = AddARPNeighborsRequest {
            neighbors: Some(neighbours).into(),
            ..Default::default()
        };
        agent
            .add_arp_neighbors(request)
            .await
            .map_err(refused("neighbours"))?;
    }
    phases.routes = start.elapsed();
    Ok(phases)
}

async fn configure(agent: &Agent, interface: Interface) -> Result<(), NetworkError> {
    let what = format!("interface {}", interface.name);
    let request = UpdateInterfaceRequest {
        interface: Some(interface).into(),
        ..Default::default()
    };
    agent
        .update_interface(request)
        .await
        .map_err(refused(what))
        .map(drop)
}

fn refused(what: impl Into<String>) -> impl FnOnce(agent_client::Error) -> NetworkError {
    let what = what.into();
    move |source| NetworkError::Guest { what, source }
}

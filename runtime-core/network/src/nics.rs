//! Gives a VM its network interfaces, and its guest their configuration.

use std::time::{Duration, Instant};

use agent_client::{
    Agent,
    agent::{AddARPNeighborsRequest, UpdateInterfaceRequest, UpdateRoutesRequest},
    types::Interface,
};
use hypervisors::{NetSpec, PciPath, Vm};

use super::{
    Attached, Attachment, Link, NetworkError, Tap, attach::move_to_new_tap, guest, model::mac_text,
};

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

/// Gives a VM all interfaces of a namespace and has the guest configure them: one that it has from its
/// start, if its agent finds that, others that are plugged in. The taps are then the monitor's.
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
    let mut there = vm.nic().filter(|_| attached.first_was_ready);
    let found = there.is_none() || agent.finds_present_devices().await;
    for (attachment, tap) in attached.taps {
        let pci = match there.take() {
            Some(pci) if found => pci,
            // Its tap is that of the NIC, which the agent does not find.
            Some(_) => {
                let tap = move_to_new_tap(&attached.namespace, &attachment.link).await?;
                add(vm, &attachment, &tap).await?
            }
            None => add(vm, &attachment, &tap).await?,
        };
        interfaces.push(guest::interface(&attachment.link, &pci));
        links.push(attachment.link);
    }
    if !found {
        // The NIC that is not found has the name that the first one wants. An agent that exchanges names
        // does so once for each interface, and not with one that was exchanged before.
        interfaces.reverse();
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

async fn add(vm: &dyn Vm, attachment: &Attachment, tap: &Tap) -> Result<PciPath, NetworkError> {
    let link = &attachment.link;
    let failed = |source| NetworkError::Plug {
        name: link.name.clone(),
        source,
    };
    let descriptor = tap.descriptor.try_clone().map_err(|source| {
        failed(hypervisors::Error::Io {
            action: "Passing on a tap",
            path: tap.name.clone().into(),
            source,
        })
    })?;
    let net = NetSpec {
        id: attachment.nic.clone(),
        mac: mac_text(&link.mac),
        tap: descriptor,
    };
    vm.add_net(net).await.map_err(failed)
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

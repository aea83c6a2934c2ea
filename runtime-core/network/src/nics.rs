//! Gives a VM its network interfaces, and its guest their configuration.

use std::time::{Duration, Instant};

use agent_client::{
    Agent,
    agent::{
        ARPNeighbors, AddARPNeighborsRequest, Routes, UpdateInterfaceRequest, UpdateRoutesRequest,
    },
    types::Interface,
};
use hypervisors::{NetSpec, PciPath, Vm};

use super::{
    Attached, Attachment, Link, NetworkError, Tap, attach::move_to_new_tap, guest, model::mac_text,
};

/// How long each part of [`add_nics`] took.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct NicPhases {
    /// Until the VMM has all NICs.
    pub devices: Duration,
    /// Until the guest has found and configured all interfaces.
    pub interfaces: Duration,
    /// Until the guest has set all routes and neighbours.
    pub routes: Duration,
}

/// Gives a VM a NIC for each interface of a namespace, and has the guest configure them. The first
/// NIC may be that which the VM has from its start, if its agent finds that; the others are
/// hot-plugged. The taps belong to the VMM afterwards.
///
/// # Errors
/// The VM may have some of the NICs. It cannot be used and should be ended.
pub async fn add_nics(
    mut attached: Attached,
    vm: &dyn Vm,
    agent: &Agent,
) -> Result<NicPhases, NetworkError> {
    if attached.taps.is_empty() {
        return Ok(NicPhases::default());
    }
    let start = Instant::now();
    let found = std::mem::take(&mut attached.found);
    let (links, interfaces) = add_devices(attached, vm, agent).await?;
    let devices = start.elapsed();

    let start = Instant::now();
    for interface in interfaces {
        configure(agent, interface).await?;
    }
    let interfaces = start.elapsed();

    let start = Instant::now();
    let links: Vec<&Link> = links.iter().collect();
    set_routes(agent, guest::routes(&found, &links)).await?;
    add_neighbours(agent, guest::neighbours(&found, &links)).await?;
    Ok(NicPhases {
        devices,
        interfaces,
        routes: start.elapsed(),
    })
}

/// Gives the VM its NICs. Returns the namespace's interfaces, and those of the guest in the order
/// in which they are to be configured.
async fn add_devices(
    attached: Attached,
    vm: &dyn Vm,
    agent: &Agent,
) -> Result<(Vec<Link>, Vec<Interface>), NetworkError> {
    let (mut links, mut interfaces) = (Vec::new(), Vec::new());
    let mut present = vm.nic().filter(|_| attached.first_was_ready);
    let found = present.is_none() || agent.finds_present_devices().await;
    for (attachment, tap) in attached.taps {
        let pci = match present.take() {
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
        // The NIC that is not found has the name that the first one needs. An agent that exchanges
        // names does so once for each interface, and not with one that was exchanged before.
        interfaces.reverse();
    }
    Ok((links, interfaces))
}

/// Hot-plugs the NIC of one interface; returns where the guest finds it.
async fn add(vm: &dyn Vm, attachment: &Attachment, tap: &Tap) -> Result<PciPath, NetworkError> {
    let link = &attachment.link;
    let failed = |source| NetworkError::AddNic {
        name: link.name.clone(),
        source,
    };
    let descriptor = tap.descriptor.try_clone().map_err(|source| {
        failed(hypervisors::Error::Io {
            action: "Duplicating a descriptor of tap",
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

async fn set_routes(agent: &Agent, routes: Routes) -> Result<(), NetworkError> {
    if routes.Routes.is_empty() {
        return Ok(());
    }
    let request = UpdateRoutesRequest {
        routes: Some(routes).into(),
        ..Default::default()
    };
    let set = agent.update_routes(request).await;
    set.map_err(refused("routes")).map(drop)
}

async fn add_neighbours(agent: &Agent, neighbours: ARPNeighbors) -> Result<(), NetworkError> {
    if neighbours.ARPNeighbors.is_empty() {
        return Ok(());
    }
    let request = AddARPNeighborsRequest {
        neighbors: Some(neighbours).into(),
        ..Default::default()
    };
    let added = agent.add_arp_neighbors(request).await;
    added.map_err(refused("neighbours")).map(drop)
}

fn refused(what: impl Into<String>) -> impl FnOnce(agent_client::Error) -> NetworkError {
    let what = what.into();
    move |source| NetworkError::Guest { what, source }
}

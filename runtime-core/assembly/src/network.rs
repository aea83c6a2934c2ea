//! A pod's network, from its specification to its end.
//!
//! The CNI's interfaces are found while the VM starts, and attached to it while its first container
//! is made. A namespace that this process made is empty until then; a client that configures the
//! one of the VMM's process (`ctr run --cni`) does so before it starts the container, so the
//! namespace is inspected once more at that moment.

use std::{
    net::IpAddr,
    path::PathBuf,
    sync::Arc,
    time::{Duration, Instant},
};

use agent_client::Agent;
use config::NetworkModel;
use factory::start::{StartStep, Started, Timeline};
use hypervisors::{NicSpec, Vm};
use network::{Attached, Namespace, NetworkError, NicPhases, Request, Tap};
use pod::state::{NetworkRecord, SandboxState};
use slog::{Logger, info, warn};
use system::error::chain;
use tokio::task::JoinHandle;

/// The network a pod is to have.
pub struct PodNetwork {
    namespace: Namespace,
    /// Others made it, so it outlives the pod.
    existing: bool,
    model: NetworkModel,
    /// Of the NIC that the VM has from its start.
    ready: Option<Tap>,
}

/// Interfaces that wait for their VM, and what that took.
pub struct Waiting {
    attached: Option<Attached>,
    start: Instant,
    took: Duration,
}

impl PodNetwork {
    /// Opens the namespace that is asked for, or makes one.
    ///
    /// # Errors
    /// There is none, or it is the host's.
    pub fn open(request: &Request, model: NetworkModel) -> Result<Self, NetworkError> {
        let (namespace, existing) = match request {
            Request::Existing(path) => (Namespace::open(path)?, true),
            Request::New => (Namespace::unshared()?, false),
        };
        Ok(Self {
            namespace,
            existing,
            model,
            ready: None,
        })
    }

    /// Makes the NIC that the VM is to have from its start. It leads nowhere until
    /// [`find`](Self::find) finds an interface for it.
    ///
    /// # Errors
    /// Nothing is made.
    pub async fn nic(&mut self) -> Result<Option<NicSpec>, NetworkError> {
        if self.model == NetworkModel::None {
            return Ok(None);
        }
        let tap = self.namespace.tap().await?;
        Ok(Some(self.ready.insert(tap).nic()))
    }

    /// What is to be undone in it at the pod's end. One without a name ends with the pod.
    pub fn record(&self) -> Option<NetworkRecord> {
        self.existing.then(|| NetworkRecord::from(&self.namespace))
    }

    /// Where the VMM is to live, as long as this value lives.
    pub fn vmm_path(&self) -> PathBuf {
        self.namespace.descriptor_path()
    }

    /// Finds what the CNI has put into the namespace, and redirects it.
    ///
    /// # Errors
    /// Nothing is redirected.
    pub async fn find(&self, log: &Logger) -> Result<Waiting, NetworkError> {
        let start = Instant::now();
        let attached = if self.existing {
            find(self, log).await?
        } else {
            None
        };
        Ok(Waiting {
            attached,
            start,
            took: start.elapsed(),
        })
    }

    /// What the network needs after its making: one that this shim made is looked at again, and in
    /// one that others made they find the guest behind the loopback, at one of `addresses`.
    pub fn keep(self, vm: &Started, addresses: Vec<IpAddr>, log: &Logger) -> KeptNetwork {
        let mut kept = KeptNetwork::default();
        if !self.existing {
            kept.late = Some(Box::new(LateNetwork {
                network: self,
                vm: vm.vm.clone(),
                agent: vm.agent.clone(),
            }));
        } else if !addresses.is_empty() {
            let log = log.clone();
            kept._forwarding = Some(Forwarding(tokio::spawn(async move {
                if let Err(error) = network::forward(self.namespace, addresses, &log).await {
                    info!(log, "ports are not forwarded"; "error" => chain(&error));
                }
            })));
        }
        kept
    }
}

async fn find(network: &PodNetwork, log: &Logger) -> Result<Option<Attached>, NetworkError> {
    if network.model == NetworkModel::None {
        return Ok(None);
    }
    let attached = network::attach(&network.namespace, network.ready.clone()).await?;
    for what in &attached.left_out {
        info!(log, "not carried into the VM"; "what" => what);
    }
    Ok(Some(attached))
}

/// What is kept of a network while its pod runs; nothing where it is complete.
#[derive(Default)]
pub struct KeptNetwork {
    /// A namespace that a client may still fill.
    late: Option<Box<LateNetwork>>,
    /// From the namespace's loopback to the guest.
    _forwarding: Option<Forwarding>,
}

impl KeptNetwork {
    /// Takes what is to be done when the first container starts; later there is nothing.
    pub fn take_late(&mut self) -> Option<Box<LateNetwork>> {
        self.late.take()
    }
}

/// Forwarding that ends with this value.
pub struct Forwarding(JoinHandle<()>);

impl Drop for Forwarding {
    fn drop(&mut self) {
        self.0.abort();
    }
}

impl Waiting {
    /// The guest's addresses as the node knows them.
    pub fn addresses(&self) -> Vec<IpAddr> {
        self.attached
            .as_ref()
            .map(Attached::addresses)
            .unwrap_or_default()
    }

    /// Begins to attach them to the VM.
    pub fn attach(self, vm: &Started, timeline: &mut Timeline) -> Attaching {
        timeline.took(StartStep::NetworkAttach, self.start, self.took);
        let (vm, agent) = (vm.vm.clone(), vm.agent.clone());
        let start = Instant::now();
        let attaching = self.attached.map(|attached| {
            tokio::spawn(async move { network::add_nics(attached, &*vm, &agent).await })
        });
        Attaching { start, attaching }
    }
}

/// Interfaces that are being attached to the VM.
pub struct Attaching {
    start: Instant,
    attaching: Option<JoinHandle<Result<NicPhases, NetworkError>>>,
}

impl Attaching {
    /// Waits until the guest has its network.
    ///
    /// # Errors
    /// It has not; the VM is of no use.
    pub async fn done(mut self, timeline: &mut Timeline) -> Result<(), NetworkError> {
        let Some(attaching) = &mut self.attaching else {
            return Ok(());
        };
        let phases = attaching.await.unwrap_or(Err(NetworkError::Lost))?;
        let mut at = self.start;
        for (step, took) in [
            (StartStep::NetworkDevices, phases.devices),
            (StartStep::NetworkInterfaces, phases.interfaces),
            (StartStep::NetworkRoutes, phases.routes),
        ] {
            timeline.took(step, at, took);
            at += took;
        }
        Ok(())
    }
}

impl Drop for Attaching {
    fn drop(&mut self) {
        if let Some(attaching) = &self.attaching {
            attaching.abort();
        }
    }
}

/// A namespace that a client may fill between Create and Start.
pub struct LateNetwork {
    network: PodNetwork,
    vm: Arc<dyn Vm>,
    agent: Agent,
}

impl LateNetwork {
    /// Gives the VM what is in the namespace by now.
    ///
    /// # Errors
    /// The guest has no network.
    pub async fn attach(self, log: &Logger) -> Result<(), NetworkError> {
        match find(&self.network, log).await? {
            Some(attached) => network::add_nics(attached, &*self.vm, &self.agent)
                .await
                .map(drop),
            None => Ok(()),
        }
    }
}

/// Gives the CNI's interfaces back.
pub async fn give_back(state: &SandboxState, log: &Logger) {
    if let Some(record) = &state.network
        && let Err(error) = network::detach(&record.path, record.id()).await
    {
        warn!(log, "filters not removed from the pod's interfaces"; "error" => chain(&error));
    }
}

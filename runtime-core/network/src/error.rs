//! What can go wrong between a network namespace and a VM.

use std::{io, path::PathBuf, time::Duration};

/// Why a pod's network could not be made.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum NetworkError {
    /// The pod wants the node's own network.
    #[error(
        "Host network is not possible: the pod runs in a virtual machine, which has a network of \
         its own; run it without host network, or with another runtime"
    )]
    HostNetwork,
    /// The task that adds the VM's interfaces ended early.
    #[error("Adding the VM's network interfaces was interrupted")]
    Lost,
    /// A namespace cannot be made, opened or entered.
    #[error("{action} network namespace {path} failed")]
    Namespace {
        /// What was done, as in "Opening".
        action: &'static str,
        /// Path of the namespace.
        path: PathBuf,
        /// The error of the system call.
        #[source]
        source: io::Error,
    },
    /// The kernel refused a change or a list of the network's configuration.
    #[error("{action} in network namespace {path} failed")]
    Kernel {
        /// What was done, as in "Listing addresses".
        action: String,
        /// Path of the namespace.
        path: PathBuf,
        /// The error of the system call.
        #[source]
        source: io::Error,
    },
    /// The kernel did not answer.
    #[error("Timed out after {waited:?} waiting for the kernel in network namespace {path}")]
    Timeout {
        /// Path of the namespace.
        path: PathBuf,
        /// The timeout that was exceeded.
        waited: Duration,
    },
    /// An interface that carries no Ethernet frames.
    #[error(
        "Interface {name} of kind {kind} cannot be given to a virtual machine: it is not an \
         Ethernet device"
    )]
    NotEthernet {
        /// Name of the interface in the namespace.
        name: String,
        /// The kernel's name for its kind.
        kind: String,
    },
    /// The interface belongs to another VM.
    #[error("Interface {name} is already redirected to the tap of another virtual machine")]
    InUse {
        /// Name of the interface in the namespace.
        name: String,
    },
    /// The VMM refused a NIC.
    #[error("Hot-plugging interface {name} failed")]
    AddNic {
        /// Name of the interface in the namespace.
        name: String,
        /// What the VMM answered.
        #[source]
        source: hypervisors::Error,
    },
    /// The guest's agent did not configure the network.
    #[error("Configuring the guest's {what} failed")]
    Guest {
        /// The part that was not configured, as in "routes".
        what: String,
        /// What the agent answered.
        #[source]
        source: agent_client::Error,
    },
}

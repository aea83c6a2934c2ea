//! What can go wrong between a network namespace and a VM.

use std::{io, path::PathBuf, time::Duration};

/// A pod's network that was not made.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum NetworkError {
    /// The pod wants the node's own network.
    #[error(
        "Host network is not possible: the pod runs in a virtual machine, which has a network of \
         its own; run it without host network, or with another runtime"
    )]
    HostNetwork,
    /// The interfaces were not plugged to the end.
    #[error("The interfaces were not plugged into the virtual machine: the work was lost")]
    Lost,
    /// A namespace that cannot be entered.
    #[error("{action} network namespace {path}")]
    Namespace {
        /// What was done, as in "Opening".
        action: &'static str,
        /// Its path.
        path: PathBuf,
        /// Why it failed.
        #[source]
        source: io::Error,
    },
    /// The kernel refused something about the network.
    #[error("{action} in network namespace {path}")]
    Kernel {
        /// What was done, as in "Listing addresses".
        action: String,
        /// The namespace.
        path: PathBuf,
        /// The kernel's answer.
        #[source]
        source: io::Error,
    },
    /// The kernel did not answer.
    #[error("Waited {waited:?} for the kernel's answers about network namespace {path}")]
    Timeout {
        /// The namespace.
        path: PathBuf,
        /// How long.
        waited: Duration,
    },
    /// An interface that carries no Ethernet frames.
    #[error(
        "Interface {name} of kind {kind} cannot be given to a virtual machine: it is not an \
         Ethernet device"
    )]
    NotEthernet {
        /// Its name.
        name: String,
        /// The kernel's name for its kind.
        kind: String,
    },
    /// The interface belongs to a VM already.
    #[error("Interface {name} is already redirected into the tap of another virtual machine")]
    InUse {
        /// Its name.
        name: String,
    },
    /// The monitor did not take an interface.
    #[error("Plugging interface {name} into the VM")]
    Plug {
        /// Its name.
        name: String,
        /// Why.
        #[source]
        source: hypervisors::Error,
    },
    /// The guest did not take what it was told.
    #[error("Configuring the guest's {what}")]
    Guest {
        /// Which part.
        what: String,
        /// Why.
        #[source]
        source: agent_client::Error,
    },
}

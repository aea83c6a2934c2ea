#![forbid(unsafe_code)]
//! The pod's network: connects what the CNI put into its network namespace to the VM.
//!
//! ```text
//!   pod's network namespace                                    VM
//!
//!   peer <---> eth0 --ingress: redirect--> tap0_imprint ===== NIC, with eth0's name, MAC, MTU,
//!              eth0 <--ingress: redirect-- tap0_imprint ===== addresses, routes and neighbours
//! ```
//!
//! The interface keeps its addresses, but the namespace's own network stack sees no packet any
//! more: the guest answers instead. Nothing is waited for: an interface that is not in the
//! namespace when the pod starts is not in the pod.
//!
//! A VM has its first NIC from its start, since a hot-plugged one takes the guest time to find. Its
//! tap is made before the interfaces are read. In a pod without a network both stay down.
//!
//! Taps are not persistent: the kernel removes one after its last descriptor was closed, with its
//! half of the redirection. The other half is on the CNI's interface; [`detach`] removes it, also
//! after a killed shim, with the recorded namespace.

mod attach;
mod detach;
mod discover;
mod error;
mod forward;
mod guest;
mod model;
mod namespace;
mod netlink;
mod nics;
mod parse;
mod plan;
mod request;
mod steer;
mod tap;
mod tc;
#[cfg(test)]
mod tests;

pub use attach::{Attached, attach};
pub use detach::{detach, detach_blocking};
pub use error::NetworkError;
pub use forward::forward;
pub use model::{Address, Discovered, Link, Neighbour, Route};
pub use namespace::{Namespace, NamespaceId};
pub use nics::{NicPhases, add_nics};
pub use plan::{Attachment, Plan, plan};
pub use request::{Request, of_specification};
pub use tap::Tap;

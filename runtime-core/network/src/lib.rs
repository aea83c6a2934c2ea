#![deny(unsafe_code)]
//! The pod's network: what the CNI put into its network namespace, carried into the VM.
//!
//! ```text
//!   pod's network namespace                                    VM
//!
//!   peer <---> eth0 --ingress: redirect--> tap0_imprint ===== NIC, with eth0's name, MAC, MTU,
//!              eth0 <--ingress: redirect-- tap0_imprint ===== addresses, routes and neighbours
//! ```
//!
//! The interface keeps its addresses, but the namespace's own stack sees no packet any more: the
//! guest answers in its place. Nothing is waited for: what is not in the namespace when the pod
//! starts is not in the pod.
//!
//! A VM has its first NIC from its start, so that the guest need not find one that is plugged in: its
//! tap is made before the interfaces are looked at. A pod without a network leaves both down.
//!
//! Taps are not persistent: they go with the last process that holds one, and their half of the
//! redirection with them. The other half is on the CNI's interface; [`detach`] removes it, also
//! after a killed shim, by what a record says of the namespace.

mod attach;
mod detach;
mod discover;
mod error;
mod forward;
mod guest;
mod model;
mod namespace;
mod netlink;
mod parse;
mod plan;
mod plug;
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
pub use plan::{Attachment, Plan, plan};
pub use plug::{PlugPhases, plug};
pub use request::{Request, of_specification};
pub use tap::Tap;

//! What kubelet is to a node: a client of containerd's CRI plugin, and pods made with it.

mod cgroup;
mod client;
mod image;
mod network;
mod pod;
mod rpc;
mod stream;

pub use cgroup::PodMemory;
pub use client::Cri;
pub use image::{LINKED, OTHER, import, other_archive, pause_archive};
pub use network::{OwnNetwork, own_network};
pub use pod::{Container, ContainerState, Kubelet, Pod};
pub use stream::{Channel, Session};

/// The messages, generated from `api.proto`.
#[allow(
    missing_docs,
    clippy::all,
    clippy::pedantic,
    clippy::panic,
    clippy::unwrap_used
)]
mod generated {
    include!(concat!(env!("OUT_DIR"), "/cri/mod.rs"));
}
pub use generated::api;

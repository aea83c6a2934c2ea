//! The settings of a node for volumes.

use std::path::PathBuf;

/// How the volumes of a node's pods reach the guest.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct VolumeSettings {
    /// What is done with paths of the host.
    pub host_path: HostPathPolicy,
    /// The most bytes of the host's files that are copied into one sandbox.
    pub host_path_limit: u64,
    /// Whether block devices that a pod mounts by their host path are hot-plugged. Those that
    /// kubelet gives to the pod always are.
    pub host_block_devices: bool,
    /// kubelet's directory, its `--root-dir`.
    pub kubelet_root: PathBuf,
    /// Directory in which storage drivers describe volumes that the runtime mounts.
    pub direct_volumes: PathBuf,
}

/// What is done with paths of the host that a pod mounts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum HostPathPolicy {
    /// They are copied into the guest, read-only.
    Copy,
    /// The container is refused.
    Refuse,
}

impl Default for VolumeSettings {
    fn default() -> Self {
        Self {
            host_path: HostPathPolicy::Copy,
            host_path_limit: 64 << 20,
            host_block_devices: false,
            kubelet_root: PathBuf::from("/var/lib/kubelet"),
            direct_volumes: PathBuf::from("/run/kata-containers/shared/direct-volumes"),
        }
    }
}

//! What a node decides about volumes, as plain values.

use std::path::PathBuf;

/// What the node decides about volumes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct VolumeSettings {
    /// What becomes of paths of the host.
    pub host_path: HostPathPolicy,
    /// How much of the host's files is copied into one sandbox, in bytes.
    pub host_path_limit: u64,
    /// Whether block devices that a pod mounts by their paths are plugged in. Those that kubelet gives
    /// to the pod are.
    pub host_block_devices: bool,
    /// kubelet's directory.
    pub kubelet_root: PathBuf,
    /// Where storage drivers describe volumes that the runtime is to mount.
    pub direct_volumes: PathBuf,
}

/// What becomes of paths of the host that a pod mounts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum HostPathPolicy {
    /// They are copied in, read-only.
    Copy,
    /// The container is not made.
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

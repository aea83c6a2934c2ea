//! How the guest mounts a container's root file system, as storages of the agent's API.

use agent_client::agent::Storage;
use system::encoding::base64url;

/// Directory of the agent in the guest; CreateSandbox empties it.
pub const GUEST_BASE: &str = "/run/kata-containers";
/// Directory in which the agent accepts copied files and shared directories.
pub const GUEST_SHARED: &str = "/run/kata-containers/shared/containers";
/// Directory of the files that all containers of a sandbox share.
pub const GUEST_SANDBOX: &str = "/run/kata-containers/sandbox";

/// Option of the agent that makes a directory before the overlay is mounted.
const CREATE_DIRECTORY: &str = "io.katacontainers.volume.overlayfs.create_directory";

/// How the guest mounts the disks of a root file system.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RootfsDisk {
    /// Type of its file system.
    pub fs_type: String,
    /// Mount options for the guest.
    pub options: Vec<String>,
    /// Whether the guest may only read; writes then go to the guest's memory.
    pub read_only: bool,
}

/// The mounts of a container's root.
#[derive(Debug, Clone, PartialEq)]
pub struct RootfsStorages {
    /// In the order in which they are mounted.
    pub storages: Vec<Storage>,
    /// Path of the finished root file system in the guest.
    pub path: String,
}

/// Path of a container's root file system in the guest.
pub fn rootfs_path(container_id: &str, disk: &RootfsDisk) -> String {
    if disk.read_only {
        format!("{GUEST_BASE}/{container_id}/rootfs")
    } else {
        format!("{GUEST_SHARED}/{container_id}/rootfs")
    }
}

/// The storages of a root file system on the disks at `pci_paths`, the topmost layer first.
///
/// A writable disk is the root itself. Read-only disks are the lower layers of an overlay whose
/// upper layer is in the guest's memory.
pub fn rootfs_storages(
    container_id: &str,
    disk: &RootfsDisk,
    pci_paths: &[String],
) -> RootfsStorages {
    let path = rootfs_path(container_id, disk);
    let blk = |pci_path: &String| Storage {
        driver: "blk".to_owned(),
        source: pci_path.clone(),
        fstype: disk.fs_type.clone(),
        options: mount_options(disk),
        mount_point: if disk.read_only {
            format!(
                "{GUEST_BASE}/virtual-volumes/{}",
                base64url(pci_path.as_bytes())
            )
        } else {
            path.clone()
        },
        ..Default::default()
    };
    let mut storages: Vec<Storage> = pci_paths.iter().map(blk).collect();
    if !disk.read_only {
        return RootfsStorages { storages, path };
    }
    storages.push(overlay(container_id, &storages, &path));
    RootfsStorages { storages, path }
}

/// An overlay of the layers, with an upper layer in the guest's memory.
fn overlay(container_id: &str, layers: &[Storage], path: &str) -> Storage {
    let layers: Vec<&str> = layers.iter().map(|s| s.mount_point.as_str()).collect();
    let container = format!("{GUEST_BASE}/{container_id}");
    let (upper, work) = (format!("{container}/fs"), format!("{container}/work"));
    Storage {
        driver: "overlayfs".to_owned(),
        driver_options: [&upper, &work]
            .iter()
            .map(|d| format!("{CREATE_DIRECTORY}={d}"))
            .collect(),
        source: "overlay".to_owned(),
        fstype: "overlay".to_owned(),
        options: vec![
            format!("lowerdir={}", layers.join(":")),
            format!("upperdir={upper}"),
            format!("workdir={work}"),
        ],
        mount_point: path.to_owned(),
        ..Default::default()
    }
}

fn mount_options(disk: &RootfsDisk) -> Vec<String> {
    let given = disk
        .options
        .iter()
        .filter(|o| !matches!(o.as_str(), "ro" | "rw"));
    let mut options: Vec<String> = given.cloned().collect();
    // Snapshots of one xfs image share its identifier, which xfs refuses to mount twice.
    if disk.fs_type == "xfs" && !options.iter().any(|o| o == "nouuid") {
        options.push("nouuid".to_owned());
    }
    if disk.read_only {
        options.insert(0, "ro".to_owned());
    }
    options
}

//! A container's mounts: those that the guest can make, and those that need the host's files.

use std::path::{Path, PathBuf};

use agent_client::oci as wire;
use oci_spec::runtime as host;
use sha2::{Digest, Sha256};
use system::encoding::hex;

use super::{
    GUEST_SHARED, OciError,
    bind::{bind_options, is_bind, is_read_only},
    process::text,
    shm::sandbox_shm,
};

/// File systems that the guest's kernel provides.
const GUEST_OWN: [&str; 8] = [
    "proc",
    "sysfs",
    "devpts",
    "mqueue",
    "tmpfs",
    "cgroup",
    "cgroup2",
    "hugetlbfs",
];

/// File systems of block devices that a container may mount.
const ON_DISK: [&str; 3] = ["ext4", "xfs", "btrfs"];

/// A bind mount whose source is a file or a directory of the host. The guest cannot see it: its
/// content must be brought there before the container is made.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HostBind {
    /// Path on the host, which was not checked: it may be missing, a link, a socket or a device.
    pub source: PathBuf,
    /// If set, this is not a bind mount: the source is a block device with this file system.
    pub fs_type: Option<String>,
    /// Path in the container.
    pub destination: PathBuf,
    /// Path in the guest for the content, if it is copied (`CopyFile` accepts only paths below
    /// [`GUEST_SHARED`]). It depends only on the container and the destination.
    pub guest_path: String,
    /// The mount's options, as given.
    pub options: Vec<String>,
    /// Index in the guest's list of mounts, whose order matters.
    pub(super) index: usize,
}

impl HostBind {
    /// Whether the container may only read it.
    pub fn read_only(&self) -> bool {
        self.options.iter().any(|option| is_read_only(option))
    }
}

/// The guest's mounts in the given order; those of [`HostBind`]s have no source yet.
pub(super) fn guest_mounts(
    mounts: &[host::Mount],
    container_id: &str,
    sandbox_id: &str,
) -> Result<(Vec<wire::Mount>, Vec<HostBind>), OciError> {
    let mut out = Vec::with_capacity(mounts.len());
    let mut binds = Vec::new();
    for mount in mounts {
        match sandbox_shm(mount, sandbox_id) {
            Some(shared) => out.push(shared),
            None => {
                let (mount, bind) = guest_mount(mount, container_id, out.len())?;
                out.push(mount);
                binds.extend(bind);
            }
        }
    }
    Ok((out, binds))
}

/// One mount for the guest, and its content if that is the host's.
fn guest_mount(
    mount: &host::Mount,
    container_id: &str,
    index: usize,
) -> Result<(wire::Mount, Option<HostBind>), OciError> {
    let destination = text(mount.destination(), "mounts.destination")?;
    let options = mount.options().clone().unwrap_or_default();
    let fs_type = mount.typ().clone().unwrap_or_default();
    let is_bind = is_bind(mount);
    let on_disk = !is_bind && ON_DISK.contains(&fs_type.as_str());
    if !is_bind && !on_disk && !GUEST_OWN.contains(&fs_type.as_str()) {
        return Err(OciError::UnsupportedMount {
            destination: mount.destination().clone(),
            fs_type,
        });
    }
    let source = match mount.source() {
        Some(source) => text(source, "mounts.source")?,
        None if is_bind || on_disk => {
            return Err(OciError::Missing("mounts.source (of a bind mount)"));
        }
        None => fs_type.clone(),
    };
    let from_host = on_disk || is_bind && !names_guest_own(Path::new(&source));
    let bind = from_host.then(|| HostBind {
        source: PathBuf::from(&source),
        fs_type: on_disk.then(|| fs_type.clone()),
        destination: mount.destination().clone(),
        guest_path: guest_path(container_id, mount.destination()),
        options: options.clone(),
        index,
    });
    let mount = wire::Mount {
        destination,
        source: if from_host { String::new() } else { source },
        type_: if is_bind || on_disk {
            "bind".to_owned()
        } else {
            fs_type
        },
        // The agent mounts the disk with the options; the container gets a bind mount of that.
        options: if on_disk {
            bind_options(&options)
        } else {
            options
        },
        ..Default::default()
    };
    Ok((mount, bind))
}

/// Whether the source is a kernel interface, which the guest has under the same path. `/dev/shm`
/// holds ordinary files of the host.
fn names_guest_own(source: &Path) -> bool {
    ["/proc", "/sys", "/dev"]
        .iter()
        .any(|own| source.starts_with(own))
        && !source.starts_with("/dev/shm")
        && source
            .components()
            .all(|part| part != std::path::Component::ParentDir)
}

/// `<container>-<16 hex digits>-<last part of the destination>` below [`GUEST_SHARED`]. The digits
/// distinguish destinations with the same last part.
fn guest_path(container_id: &str, destination: &Path) -> String {
    let digest = Sha256::digest(destination.as_os_str().as_encoded_bytes());
    let digits = hex(&digest[..8]);
    let name = destination
        .file_name()
        .map(|name| name.to_string_lossy())
        .unwrap_or_default();
    format!("{GUEST_SHARED}/{container_id}-{digits}-{name}")
}

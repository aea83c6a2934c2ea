//! Decides how a bind mount of the host reaches the guest: a pure function of paths and facts.

use std::path::{Path, PathBuf};

use config::{HostPathPolicy, VolumeSettings};

use super::{
    direct::DirectVolume,
    kubelet::{EMPTY_DIR, KubeletPath, is_config},
    owner::Owner,
    source::{Facts, FileSystem, Kind},
};

/// A requested bind mount.
#[derive(Debug, Clone, Copy)]
pub(super) struct BindRequest<'a> {
    pub(super) source: &'a Path,
    /// The source with links resolved.
    pub(super) real: &'a Path,
    /// Identifiers of the pod that asks for it.
    pub(super) owner: &'a Owner,
    pub(super) destination: &'a Path,
    pub(super) read_only: bool,
    pub(super) options: &'a [String],
    /// The plugin of the pod's volume that the source is a part of.
    pub(super) part_of: Option<&'a str>,
    /// Type of the file system to mount, if the source is given as a block device.
    pub(super) fs_type: Option<&'a str>,
    /// The volume that a storage driver left for the runtime to mount instead of the source.
    pub(super) direct: Option<&'a DirectVolume>,
}

/// How a mount reaches the guest.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Way {
    /// Written by kubelet: copied, and updated after each change.
    Config,
    /// One of the files that runtimes write for a pod: copied, updated after each change, and
    /// writable if the container asks for that. What it writes stays in the guest.
    PodFile,
    /// Copied, and written back when the container has ended.
    TerminationLog,
    /// A tmpfs of the guest, shared by the pod's containers.
    Memory {
        /// Name within the pod.
        name: String,
        /// Size limit in bytes, if it has one.
        bytes: Option<u64>,
    },
    /// Huge pages of the guest, shared by the pod's containers.
    HugePages {
        /// Name within the pod.
        name: String,
        /// Size of a page in bytes.
        page_bytes: u64,
    },
    /// An empty directory of the guest, shared by the pod's containers.
    Scratch {
        /// Name within the pod.
        name: String,
    },
    /// A part of an `emptyDir`, which is itself classified as a whole.
    PartOfEmptyDir {
        /// Name within the pod.
        name: String,
    },
    /// A read-only copy, since the host's file system is not shared.
    Snapshot {
        /// Whether the container asked to write; then there is a warning in the log.
        wanted_to_write: bool,
    },
    /// Hot-plugged as a disk, with a device node in the container.
    RawDisk,
    /// Hot-plugged as a disk, whose file system the guest mounts.
    FileSystem(DirectVolume),
}

impl BindRequest<'_> {
    /// Whether it is one of the files that runtimes write for a pod.
    fn is_pod_file(&self) -> bool {
        let known = POD_FILES
            .iter()
            .any(|file| self.destination == Path::new(file));
        known && self.owner.has_file(self.real, self.destination.file_name())
    }

    /// The way of a source that is a block device.
    fn disk(&self) -> Way {
        match self.fs_type {
            None => Way::RawDisk,
            Some(fs_type) => Way::FileSystem(DirectVolume {
                device: self.source.to_owned(),
                fs_type: fs_type.to_owned(),
                options: self.options.to_vec(),
                group: None,
            }),
        }
    }
}

const NOT_OWN_DISK: &str = "a block device of the host is hot-plugged for a pod only if kubelet \
     gives it to this pod (volumeMode: Block), or with host_block_devices = true in [runtime]";

/// Files that the runtime's client writes for each container, in a directory of its own.
const POD_FILES: [&str; 3] = ["/etc/hosts", "/etc/hostname", "/etc/resolv.conf"];

/// Decides how a bind mount reaches the guest. The error is the reason for a refusal.
pub(super) fn classify(
    asked: &BindRequest<'_>,
    facts: &Facts,
    settings: &VolumeSettings,
) -> Result<Way, String> {
    let path = asked
        .owner
        .kubelet_path(&settings.kubelet_root, asked.source, asked.real);
    if let Some(direct) = asked.direct {
        return match path {
            Some(KubeletPath::Volume { .. }) => Ok(Way::FileSystem(direct.clone())),
            _ if settings.host_block_devices => Ok(Way::FileSystem(direct.clone())),
            _ => Err(NOT_OWN_DISK.to_owned()),
        };
    }
    match facts.kind {
        Kind::Special(what) => {
            return Err(format!(
                "{what} of the host does not exist in a virtual machine"
            ));
        }
        // Only the runtime's client can name a type in the specification, not a pod.
        Kind::Block(_) if asked.fs_type.is_some() || settings.host_block_devices => {
            return Ok(asked.disk());
        }
        Kind::Block(_) => {
            return match path {
                Some(KubeletPath::Device | KubeletPath::Volume { .. }) => Ok(asked.disk()),
                _ => Err(NOT_OWN_DISK.to_owned()),
            };
        }
        Kind::File | Kind::Directory => {}
    }
    if let Some(fs_type) = asked.fs_type {
        return Err(format!(
            "a file system of type {fs_type} is on a block device, which this is not"
        ));
    }
    match path {
        Some(KubeletPath::Volume { plugin, name }) => volume(asked, facts, plugin, name),
        Some(KubeletPath::Subpath { name }) => part(asked, name, settings),
        Some(KubeletPath::TerminationLog) if facts.kind == Kind::File => Ok(Way::TerminationLog),
        Some(KubeletPath::Hosts) if facts.kind == Kind::File => Ok(Way::PodFile),
        _ if facts.kind == Kind::File && asked.is_pod_file() => Ok(Way::PodFile),
        _ => host_path(asked, settings),
    }
}

fn volume(asked: &BindRequest<'_>, facts: &Facts, plugin: &str, name: &str) -> Result<Way, String> {
    if is_config(plugin) {
        return Ok(Way::Config);
    }
    if plugin != EMPTY_DIR {
        return persistent(asked, plugin);
    }
    let name = name.to_owned();
    Ok(match facts.file_system {
        FileSystem::Tmpfs(bytes) => Way::Memory {
            name,
            bytes: (bytes > 0).then_some(bytes),
        },
        FileSystem::Hugetlbfs(page_bytes) => Way::HugePages { name, page_bytes },
        FileSystem::Other => Way::Scratch { name },
    })
}

/// A part of a volume (`subPath`). It is not updated, as without a VM. kubelet binds a part of a
/// path of the host under the same names, so a part of none of the pod's volumes is one of those.
fn part(asked: &BindRequest<'_>, name: &str, settings: &VolumeSettings) -> Result<Way, String> {
    match asked.part_of {
        Some(plugin) if is_config(plugin) => Ok(Way::Snapshot {
            wanted_to_write: false,
        }),
        Some(EMPTY_DIR) => Ok(Way::PartOfEmptyDir {
            name: name.to_owned(),
        }),
        Some(plugin) => persistent(asked, plugin),
        None => host_path(asked, settings),
    }
}

/// A persistent volume is refused if it is writable: a copy ends with the pod.
fn persistent(asked: &BindRequest<'_>, plugin: &str) -> Result<Way, String> {
    if asked.read_only {
        return Ok(Way::Snapshot {
            wanted_to_write: false,
        });
    }
    Err(format!(
        "what a container writes to a {plugin} file system of the host would be lost, since no \
         file system is shared with the guest; use volumeMode: Block, or mount it with readOnly: \
         true"
    ))
}

fn host_path(asked: &BindRequest<'_>, settings: &VolumeSettings) -> Result<Way, String> {
    match settings.host_path {
        HostPathPolicy::Copy => Ok(Way::Snapshot {
            wanted_to_write: !asked.read_only,
        }),
        HostPathPolicy::Refuse => Err(
            "paths of the host are not copied into guests here (host_path_volumes = \"refuse\")"
                .to_owned(),
        ),
    }
}

/// Path in the guest of the volume `name` of sandbox `sandbox`, the same for all its containers.
pub(super) fn shared_path(base: &str, sandbox: &str, name: &str) -> String {
    format!("{base}/{sandbox}-volumes/{name}")
}

/// A path within a volume as text, if it has no `..` and is UTF-8.
pub(super) fn plain_path(part: &Path) -> Option<&str> {
    let normal = part
        .components()
        .all(|one| matches!(one, std::path::Component::Normal(_)));
    part.to_str().filter(|_| normal)
}

/// Base name for copies of `source`. The digest distinguishes sources with the same last part.
pub(super) fn copy_name(source: &Path, digest: &str) -> PathBuf {
    let last = source.file_name().unwrap_or_default().to_string_lossy();
    PathBuf::from(format!("{digest}-{last}"))
}

//! What becomes of a bind mount of the host: one pure function, told by paths and facts alone.

use std::path::{Path, PathBuf};

use config::{HostPathPolicy, VolumeSettings};

use super::{
    direct::DirectVolume,
    kubelet::{EMPTY_DIR, Place, is_config},
    look::{Facts, FileSystem, Kind},
    owner::Owner,
};

/// A bind mount, as it is asked for.
#[derive(Debug, Clone, Copy)]
pub(super) struct Asked<'a> {
    pub(super) source: &'a Path,
    /// Where the source leads, links resolved.
    pub(super) real: &'a Path,
    /// What the pod is known by.
    pub(super) owner: &'a Owner,
    pub(super) destination: &'a Path,
    pub(super) read_only: bool,
    pub(super) options: &'a [String],
    /// The plugin of the pod's volume that the source was found to be a part of.
    pub(super) part_of: Option<&'a str>,
    /// The file system that the source is to have, as a block device.
    pub(super) fs_type: Option<&'a str>,
    /// What was left for the runtime to mount in place of the source.
    pub(super) direct: Option<&'a DirectVolume>,
}

/// How a mount reaches the guest.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Way {
    /// Written by kubelet: copied, and kept up to date.
    Config,
    /// One of the files that runtimes write for a pod: copied, kept up to date, and writable for
    /// the container if it asks for that. What it writes stays in the guest.
    PodFile,
    /// Copied, and written back when the container has ended.
    TerminationLog,
    /// Shared memory of the pod's containers.
    Memory {
        /// Name within the pod.
        name: String,
        /// Size in bytes; `None` for no limit of its own.
        bytes: Option<u64>,
    },
    /// Huge pages of the guest, shared by the pod's containers.
    HugePages {
        /// Name within the pod.
        name: String,
        /// Size of a page in bytes.
        page_bytes: u64,
    },
    /// An empty directory that the pod's containers share.
    Scratch {
        /// Name within the pod.
        name: String,
    },
    /// A part of an `emptyDir`, which is itself classified as a whole.
    PartOfEmptyDir {
        /// Name within the pod.
        name: String,
    },
    /// Copied once, read-only, since the host's file system is not shared.
    Snapshot {
        /// The container asked to write; the log warns.
        wanted_to_write: bool,
    },
    /// Plugged as a disk; a device node in the container.
    RawDisk,
    /// Plugged as a disk, and its file system mounted in the guest.
    FileSystem(DirectVolume),
}

impl Asked<'_> {
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

const NOT_OWN_DISK: &str = "a block device of the host is plugged in for a pod only if kubelet gives it \
     to this pod (volumeMode: Block), or with host_block_devices = true in [runtime]";

/// Files that are written for each container by whoever started it, in a directory of its own.
const POD_FILES: [&str; 3] = ["/etc/hosts", "/etc/hostname", "/etc/resolv.conf"];

/// Decides. The error is the reason for a refusal.
pub(super) fn classify(
    asked: &Asked<'_>,
    facts: &Facts,
    settings: &VolumeSettings,
) -> Result<Way, String> {
    let place = asked
        .owner
        .place(&settings.kubelet_root, asked.source, asked.real);
    if let Some(direct) = asked.direct {
        return match place {
            Some(Place::Volume { .. }) => Ok(Way::FileSystem(direct.clone())),
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
        // The type is said by whoever wrote the specification; a pod has no way to.
        Kind::Block(_) if asked.fs_type.is_some() || settings.host_block_devices => {
            return Ok(asked.disk());
        }
        Kind::Block(_) => {
            return match place {
                Some(Place::Device | Place::Volume { .. }) => Ok(asked.disk()),
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
    match place {
        Some(Place::Volume { plugin, name }) => volume(asked, facts, plugin, name),
        Some(Place::Subpath { name }) => part(asked, name, settings),
        Some(Place::TerminationLog) if facts.kind == Kind::File => Ok(Way::TerminationLog),
        Some(Place::Hosts) if facts.kind == Kind::File => Ok(Way::PodFile),
        _ if facts.kind == Kind::File && asked.is_pod_file() => Ok(Way::PodFile),
        _ => host_path(asked, settings),
    }
}

fn volume(asked: &Asked<'_>, facts: &Facts, plugin: &str, name: &str) -> Result<Way, String> {
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

/// kubelet does not update parts of its own volumes either. It makes a part of a path of the host under
/// the same names: what is in none of the pod's volumes is that.
fn part(asked: &Asked<'_>, name: &str, settings: &VolumeSettings) -> Result<Way, String> {
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

/// What is to last must not be written to a copy that ends with the pod.
fn persistent(asked: &Asked<'_>, plugin: &str) -> Result<Way, String> {
    if asked.read_only {
        return Ok(Way::Snapshot {
            wanted_to_write: false,
        });
    }
    Err(format!(
        "what a container writes to a {plugin} file system of the host would be lost, since no file \
         system is shared with the guest; use volumeMode: Block, or mount it with readOnly: true"
    ))
}

fn host_path(asked: &Asked<'_>, settings: &VolumeSettings) -> Result<Way, String> {
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

/// Where in the guest the volume `name` of sandbox `sandbox` is; the same for all its containers.
pub(super) fn shared_path(base: &str, sandbox: &str, name: &str) -> String {
    format!("{base}/{sandbox}-volumes/{name}")
}

/// A path within a volume that may be asked of the guest.
pub(super) fn plain(part: &Path) -> Option<&str> {
    let normal = part
        .components()
        .all(|one| matches!(one, std::path::Component::Normal(_)));
    part.to_str().filter(|_| normal)
}

/// Base name for copies of `source`: tells apart sources that end alike.
pub(super) fn copy_name(source: &Path, digest: &str) -> PathBuf {
    let last = source.file_name().unwrap_or_default().to_string_lossy();
    PathBuf::from(format!("{digest}-{last}"))
}

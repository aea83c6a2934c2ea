//! What kubelet's paths say about a volume.

use std::path::{Component, Path, PathBuf};

/// A place in a pod's directory of kubelet (`<root>/pods/<uid>/...`).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Place<'a> {
    /// `volumes/<plugin>/<name>`, and whatever the plugin puts below.
    Volume {
        /// As in `kubernetes.io~configmap`.
        plugin: &'a str,
        /// The volume's name, unique within the pod.
        name: &'a str,
    },
    /// `volume-subpaths/<name>/<container>/<number>`: a part of the volume of that name.
    Subpath {
        /// The volume's name.
        name: &'a str,
    },
    /// `containers/<container>/<file>`: where a termination message is read from.
    TerminationLog,
    /// `etc-hosts`.
    Hosts,
    /// `volumeDevices/<plugin>/<name>`: a link to the block device of a raw volume.
    Device,
}

/// Reads a path of the pod `uid` itself; `None` if it is another's, or no one's. `real` is where the
/// path leads, and `real_pods` where the directory of all pods is, which a node may have on another disk:
/// what a link below that leads to (a container may have left one in a volume) is not the pod's.
pub(super) fn own_place<'a>(
    (root, real_pods): (&Path, &Path),
    uid: Option<&str>,
    path: &'a Path,
    real: &Path,
) -> Option<Place<'a>> {
    let named = parts(root, path)?;
    if named.get(1).copied() != Some(uid?) {
        return None;
    }
    match place(root, path)? {
        // Made by kubelet, in a directory that nobody else writes to.
        Place::Device => Some(Place::Device),
        place => (parts(real_pods, real)? == named[1..]).then_some(place),
    }
}

/// Reads a path, whichever pod's; `None` if it is not kubelet's.
pub(super) fn place<'a>(root: &Path, path: &'a Path) -> Option<Place<'a>> {
    let parts = parts(root, path)?;
    match parts.as_slice() {
        ["pods", _, "volumes", plugin, name, ..] => Some(Place::Volume { plugin, name }),
        ["pods", _, "volume-subpaths", name, _, _] => Some(Place::Subpath { name }),
        ["pods", _, "containers", _, _] => Some(Place::TerminationLog),
        ["pods", _, "etc-hosts"] => Some(Place::Hosts),
        ["pods", _, "volumeDevices", _, _] => Some(Place::Device),
        _ => None,
    }
}

/// The directory of all pods' directories.
pub(super) fn pods(root: &Path) -> PathBuf {
    root.join("pods")
}

/// Directory of the volumes of the pod that `path` belongs to.
pub(super) fn pod_volumes(root: &Path, path: &Path) -> Option<PathBuf> {
    match parts(root, path)?.as_slice() {
        ["pods", uid, ..] => Some(pods(root).join(uid).join("volumes")),
        _ => None,
    }
}

fn parts<'a>(root: &Path, path: &'a Path) -> Option<Vec<&'a str>> {
    let inside = path.strip_prefix(root).ok()?;
    inside
        .components()
        .map(|part| match part {
            Component::Normal(name) => name.to_str(),
            _ => None,
        })
        .collect()
}

/// Plugins whose volumes kubelet writes itself, small and read-only for containers, and replaces
/// while a pod runs.
pub(super) fn is_config(plugin: &str) -> bool {
    [
        "kubernetes.io~configmap",
        "kubernetes.io~secret",
        "kubernetes.io~projected",
        "kubernetes.io~downward-api",
    ]
    .contains(&plugin)
}

/// The plugin of an `emptyDir`.
pub(super) const EMPTY_DIR: &str = "kubernetes.io~empty-dir";

/// The plugin of CSI drivers, which mounts a volume at `mount` in the volume's directory.
pub(super) const CSI: &str = "kubernetes.io~csi";

//! The layout of kubelet's directories, by which a volume is recognised.

use std::path::{Component, Path, PathBuf};

/// A path in kubelet's directory of a pod (`<root>/pods/<uid>/...`).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum KubeletPath<'a> {
    /// `volumes/<plugin>/<name>`, and everything below.
    Volume {
        /// Name of the plugin, as in `kubernetes.io~configmap`.
        plugin: &'a str,
        /// Name of the volume, unique within the pod.
        name: &'a str,
    },
    /// `volume-subpaths/<name>/<container>/<number>`: a part of the volume of that name.
    Subpath {
        /// Name of the volume.
        name: &'a str,
    },
    /// `containers/<container>/<file>`: the file for a termination message.
    TerminationLog,
    /// `etc-hosts`: the file for `/etc/hosts`.
    Hosts,
    /// `volumeDevices/<plugin>/<name>`: a link to the block device of a raw volume.
    Device,
}

/// Parses a path of the pod `uid`; `None` if it belongs to another pod, or is not kubelet's. `real`
/// is the path with links resolved, and `real_pods` that of the directory of all pods, which may be
/// on another disk. A path through a link below that is not the pod's: a container may have left
/// the link in a volume.
pub(super) fn parse_own<'a>(
    (root, real_pods): (&Path, &Path),
    uid: Option<&str>,
    path: &'a Path,
    real: &Path,
) -> Option<KubeletPath<'a>> {
    let named = parts(root, path)?;
    if named.get(1).copied() != Some(uid?) {
        return None;
    }
    match parse(root, path)? {
        // This link is kubelet's: no one else writes to its directory.
        KubeletPath::Device => Some(KubeletPath::Device),
        parsed => (parts(real_pods, real)? == named[1..]).then_some(parsed),
    }
}

/// Parses a path of any pod; `None` if it is not kubelet's.
pub(super) fn parse<'a>(root: &Path, path: &'a Path) -> Option<KubeletPath<'a>> {
    let parts = parts(root, path)?;
    match parts.as_slice() {
        ["pods", _, "volumes", plugin, name, ..] => Some(KubeletPath::Volume { plugin, name }),
        ["pods", _, "volume-subpaths", name, _, _] => Some(KubeletPath::Subpath { name }),
        ["pods", _, "containers", _, _] => Some(KubeletPath::TerminationLog),
        ["pods", _, "etc-hosts"] => Some(KubeletPath::Hosts),
        ["pods", _, "volumeDevices", _, _] => Some(KubeletPath::Device),
        _ => None,
    }
}

/// The directory that contains those of all pods.
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

/// Whether kubelet writes the volumes of this plugin itself. They are small, read-only for
/// containers, and replaced while a pod runs.
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

/// The plugin of CSI drivers, which mount a volume at `mount` in the volume's directory.
pub(super) const CSI: &str = "kubernetes.io~csi";

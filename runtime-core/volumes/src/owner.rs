//! What a pod is known by on its node.

use std::{
    ffi::OsStr,
    path::{Path, PathBuf},
};

use super::kubelet::{self, Place};

/// What a path must say to be this pod's own: whatever else a pod names is a path of the host.
#[derive(Debug, Clone, Default)]
pub(super) struct Owner {
    /// The pod's uid, by which kubelet names its directory.
    pub(super) uid: Option<String>,
    /// Directory of all pods in kubelet's, links resolved.
    pub(super) pods: PathBuf,
    /// Identifiers of the sandbox and the container, by which runtimes name their directories.
    pub(super) ids: [String; 2],
}

impl Owner {
    /// What kubelet's path says, if it is of this pod.
    pub(super) fn place<'a>(
        &self,
        root: &Path,
        source: &'a Path,
        real: &Path,
    ) -> Option<Place<'a>> {
        let roots = (root, self.pods.as_path());
        kubelet::own_place(roots, self.uid.as_deref(), source, real)
    }

    /// Whether it is the file of this name in a directory that a runtime made for the pod or the
    /// container: that directory, or one above it, has its identifier.
    pub(super) fn has_file(&self, real: &Path, name: Option<&OsStr>) -> bool {
        let mut above = real.parent().into_iter().flat_map(Path::components);
        name.is_some()
            && real.file_name() == name
            && above.any(|part| self.ids.iter().any(|id| part.as_os_str() == id.as_str()))
    }
}

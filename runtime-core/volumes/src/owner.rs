//! The identifiers by which a path is recognised as a pod's own.

use std::{
    ffi::OsStr,
    path::{Path, PathBuf},
};

use super::kubelet::{self, KubeletPath};

/// Identifiers of a pod. A path that does not contain them is a path of the host.
#[derive(Debug, Clone, Default)]
pub(super) struct Owner {
    /// The pod's uid, by which kubelet names its directory.
    pub(super) uid: Option<String>,
    /// kubelet's directory of all pods, links resolved.
    pub(super) pods: PathBuf,
    /// Identifiers of the sandbox and the container, by which runtimes name their directories.
    pub(super) ids: [String; 2],
}

impl Owner {
    /// Parses a path of kubelet, if it belongs to this pod.
    pub(super) fn kubelet_path<'a>(
        &self,
        root: &Path,
        source: &'a Path,
        real: &Path,
    ) -> Option<KubeletPath<'a>> {
        let roots = (root, self.pods.as_path());
        kubelet::parse_own(roots, self.uid.as_deref(), source, real)
    }

    /// Whether this is the file of this name in a directory that a runtime made for the pod or the
    /// container: that directory, or one above it, is named by an identifier.
    pub(super) fn has_file(&self, real: &Path, name: Option<&OsStr>) -> bool {
        let mut above = real.parent().into_iter().flat_map(Path::components);
        name.is_some()
            && real.file_name() == name
            && above.any(|part| self.ids.iter().any(|id| part.as_os_str() == id.as_str()))
    }
}

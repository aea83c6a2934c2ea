//! Where a pod's shim listens.

use std::path::{Path, PathBuf};

use sha2::{Digest, Sha256};
use system::encoding::hex;

/// Directory of the shims' sockets, whatever containerd's own state directory is.
const SOCKETS: &str = "/run/containerd/s";

/// Path of the socket of the shim for `group`: a sandbox's id. The same for every container of a
/// pod, different for every containerd and namespace.
pub fn socket_path(containerd: &str, namespace: &str, group: &str) -> PathBuf {
    let digest = Sha256::digest([containerd, namespace, group].join("/"));
    Path::new(SOCKETS).join(hex(&digest))
}

/// The address containerd gets for a socket.
pub fn url(socket: &Path) -> String {
    format!("unix://{}", socket.display())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn socket_is_the_one_other_shims_would_use() {
        // sha256("/run/containerd/containerd.sock/default/a")
        let path = socket_path("/run/containerd/containerd.sock", "default", "a");
        let expected = hex(&Sha256::digest("/run/containerd/containerd.sock/default/a"));
        assert_eq!(path, Path::new("/run/containerd/s").join(expected));
        assert_ne!(
            path,
            socket_path("/run/containerd/containerd.sock", "default", "b")
        );
    }
}

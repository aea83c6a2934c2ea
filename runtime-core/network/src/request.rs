//! The network namespace that a container's specification asks for.

use std::path::PathBuf;

use oci_spec::runtime::{LinuxNamespaceType, Spec};

use super::NetworkError;

/// The network namespace that a pod asks for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Request {
    /// An existing one at this path, made by the CNI.
    Existing(PathBuf),
    /// A new, empty one.
    New,
}

/// Reads the network namespace of `linux.namespaces` (OCI runtime specification, config-linux.md):
/// with a path it exists, without one it is to be made, and without an entry the container would be
/// in the runtime's own.
///
/// # Errors
/// [`NetworkError::HostNetwork`] in the last case.
pub fn of_specification(spec: &Spec) -> Result<Request, NetworkError> {
    let linux = spec.linux().as_ref();
    let namespaces = linux
        .and_then(|linux| linux.namespaces().as_deref())
        .unwrap_or_default();
    let network = namespaces
        .iter()
        .find(|entry| entry.typ() == LinuxNamespaceType::Network);
    match network.ok_or(NetworkError::HostNetwork)?.path() {
        Some(path) if !path.as_os_str().is_empty() => Ok(Request::Existing(path.clone())),
        _ => Ok(Request::New),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn asked(namespaces: &str) -> Result<Request, NetworkError> {
        let text = format!(
            r#"{{"ociVersion": "1.1.0", "root": {{"path": "rootfs"}},
                 "linux": {{"namespaces": {namespaces}}}}}"#
        );
        of_specification(&serde_json::from_str(&text).unwrap())
    }

    #[test]
    fn the_namespace_decides() {
        let existing = asked(r#"[{"type": "pid"}, {"type": "network", "path": "/run/netns/a"}]"#);
        assert_eq!(existing.unwrap(), Request::Existing("/run/netns/a".into()));
        assert_eq!(asked(r#"[{"type": "network"}]"#).unwrap(), Request::New);
        assert_eq!(
            asked(r#"[{"type": "network", "path": ""}]"#).unwrap(),
            Request::New
        );
    }

    #[test]
    fn no_namespace_is_the_hosts() {
        assert!(matches!(
            asked(r#"[{"type": "pid"}]"#),
            Err(NetworkError::HostNetwork)
        ));
        let bare: Spec = serde_json::from_str(r#"{"ociVersion": "1.1.0"}"#).unwrap();
        assert!(matches!(
            of_specification(&bare),
            Err(NetworkError::HostNetwork)
        ));
    }
}

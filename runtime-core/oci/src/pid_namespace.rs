//! Which container's processes a container sees. Its specification names the pid namespace of
//! another process by the path `/proc/<pid>/ns/pid`, with a pid that this runtime has reported to
//! containerd.

use std::path::Path;

use agent_client::PID_NAMESPACE_OF;
use oci_spec::runtime::{LinuxNamespace, LinuxNamespaceType, Spec};

use super::OciError;

const FIELD: &str = "pid namespace (it is not of a process of this pod)";

/// Lets a container join the pid namespace that its specification asks for. `container_of` returns
/// the container of a reported pid. The main container stands for the namespace that the pod
/// shares.
///
/// # Errors
/// The namespace is of no process of this pod.
pub fn join_processes(
    spec: &mut Spec,
    main: &str,
    container_of: impl Fn(u32) -> Option<String>,
) -> Result<(), OciError> {
    forget(spec);
    let Some(path) = joined(spec) else {
        return Ok(());
    };
    let Some(container) = pid_of(path).and_then(container_of) else {
        return Err(foreign(path));
    };
    if container != main {
        leave(spec);
        let mut annotations = spec.annotations().clone().unwrap_or_default();
        annotations.insert(PID_NAMESPACE_OF.to_owned(), container);
        spec.set_annotations(Some(annotations));
    }
    Ok(())
}

/// Refuses a container that asks for another's pid namespace, if there is no other container.
///
/// # Errors
/// The specification names a pid namespace.
pub fn join_no_processes(spec: &mut Spec) -> Result<(), OciError> {
    forget(spec);
    joined(spec).map_or(Ok(()), |path| Err(foreign(path)))
}

/// Removes the annotation, which only this shim may set.
fn forget(spec: &mut Spec) {
    if let Some(annotations) = spec.annotations_mut() {
        annotations.remove(PID_NAMESPACE_OF);
    }
}

fn foreign(path: &Path) -> OciError {
    OciError::Invalid {
        field: FIELD,
        value: path.display().to_string(),
    }
}

fn joined(spec: &Spec) -> Option<&Path> {
    let namespaces = spec.linux().as_ref()?.namespaces().as_ref()?;
    let joined = namespaces.iter().find(|one| is_joined(one))?;
    joined.path().as_deref()
}

fn is_joined(namespace: &LinuxNamespace) -> bool {
    namespace.typ() == LinuxNamespaceType::Pid
        && namespace
            .path()
            .as_ref()
            .is_some_and(|path| !path.as_os_str().is_empty())
}

fn leave(spec: &mut Spec) {
    let linux = spec.linux_mut().as_mut();
    let namespaces = linux.and_then(|linux| linux.namespaces_mut().as_mut());
    for namespace in namespaces.into_iter().flatten() {
        if is_joined(namespace) {
            namespace.set_path(None);
        }
    }
}

fn pid_of(path: &Path) -> Option<u32> {
    let path = path.to_str()?.strip_prefix("/proc/")?;
    path.strip_suffix("/ns/pid")?.parse().ok()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn spec(path: &str) -> Spec {
        let spec = json!({
            "ociVersion": "1.0.2",
            "root": {"path": "rootfs"},
            "annotations": {PID_NAMESPACE_OF: "forged", "other": "stays"},
            "linux": {"namespaces": [{"type": "mount"}, {"type": "pid", "path": path}]},
        });
        serde_json::from_value(spec).unwrap()
    }

    /// The container that is joined, and whether the pod's namespace still is.
    fn joining(path: &str) -> Result<(Option<String>, bool), String> {
        let mut spec = spec(path);
        let container_of = |pid| match pid {
            7 => Some("main".to_owned()),
            8 => Some("web".to_owned()),
            _ => None,
        };
        let joined = join_processes(&mut spec, "main", container_of);
        joined.map_err(|error| error.to_string())?;
        let annotations = spec.annotations().as_ref().unwrap();
        assert_eq!(annotations["other"], "stays");
        let of = annotations.get(PID_NAMESPACE_OF).cloned();
        Ok((of, super::joined(&spec).is_some()))
    }

    #[test]
    fn a_number_stands_for_its_container() {
        assert_eq!(joining(""), Ok((None, false)));
        assert_eq!(joining("/proc/7/ns/pid"), Ok((None, true)));
        assert_eq!(joining("/proc/8/ns/pid"), Ok((Some("web".into()), false)));
    }

    #[test]
    fn what_is_not_of_this_pod_is_refused_by_name() {
        for path in [
            "/proc/9/ns/pid",
            "/proc/1/ns/pid",
            "/proc/self/ns/pid",
            "/proc/8/ns/net",
            "/run/ns/pid",
        ] {
            let refused = joining(path).unwrap_err();
            assert!(refused.contains(path) && refused.contains("not of a process of this pod"));
        }
        let mut alone = spec("/proc/7/ns/pid");
        assert!(join_no_processes(&mut alone).is_err());
        assert!(join_no_processes(&mut spec("")).is_ok());
    }
}

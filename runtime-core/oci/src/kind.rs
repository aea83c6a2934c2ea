//! Whether a container is a pod's sandbox, another container of a pod, or has a VM of its own.

use std::{collections::HashMap, path::Path};

use oci_spec::runtime::Spec;

use super::{OciError, validate_id};

/// The annotations of one client for the kind of a container.
struct Family {
    kind: &'static str,
    sandbox: &'static str,
    container: &'static str,
    sandbox_id: &'static str,
}

/// In the order in which they are tried: containerd's CRI, CRI-O, dockershim.
const FAMILIES: [Family; 3] = [
    Family {
        kind: "io.kubernetes.cri.container-type",
        sandbox: "sandbox",
        container: "container",
        sandbox_id: "io.kubernetes.cri.sandbox-id",
    },
    Family {
        kind: "io.kubernetes.cri-o.ContainerType",
        sandbox: "sandbox",
        container: "container",
        sandbox_id: "io.kubernetes.cri-o.SandboxID",
    },
    Family {
        kind: "io.kubernetes.docker.type",
        sandbox: "podsandbox",
        container: "container",
        sandbox_id: "io.kubernetes.sandbox.id",
    },
];

/// The pod's uid, as containerd's CRI and the others write it.
const UIDS: [&str; 2] = ["io.kubernetes.cri.sandbox-uid", "io.kubernetes.pod.uid"];

/// What a container is for its VM.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ContainerKind {
    /// A container with a VM of its own (`ctr`, `nerdctl`).
    SingleContainer,
    /// The first container of a pod, with which the pod's VM starts.
    PodSandbox,
    /// A further container of a pod.
    PodContainer {
        /// Identifier of the pod's sandbox; valid as by [`validate_id`].
        sandbox_id: String,
    },
}

impl ContainerKind {
    /// Reads the kind from the annotations of containerd's CRI, CRI-O and dockershim.
    ///
    /// # Errors
    /// The kind is unknown, or a pod's container does not name its sandbox.
    pub fn from_spec(spec: &Spec) -> Result<Self, OciError> {
        let none = HashMap::new();
        let annotations = spec.annotations().as_ref().unwrap_or(&none);
        let found = FAMILIES
            .iter()
            .find_map(|family| Some((family, annotations.get(family.kind)?)));
        let Some((family, kind)) = found else {
            return Ok(Self::SingleContainer);
        };
        if kind == family.sandbox {
            return Ok(Self::PodSandbox);
        }
        if kind != family.container {
            return Err(OciError::Invalid {
                field: family.kind,
                value: kind.clone(),
            });
        }
        let sandbox_id = annotations
            .get(family.sandbox_id)
            .ok_or(OciError::Missing(family.sandbox_id))?;
        validate_id(sandbox_id)?;
        Ok(Self::PodContainer {
            sandbox_id: sandbox_id.clone(),
        })
    }

    /// Identifier of the sandbox that container `id` belongs to.
    pub fn sandbox_id<'a>(&'a self, id: &'a str) -> &'a str {
        match self {
            Self::PodContainer { sandbox_id } => sandbox_id,
            Self::SingleContainer | Self::PodSandbox => id,
        }
    }

    /// The kind as the agent names it (annotation `io.katacontainers.pkg.oci.container_type`).
    pub(super) fn agent_name(&self) -> &'static str {
        match self {
            Self::SingleContainer => "single_container",
            Self::PodSandbox => "pod_sandbox",
            Self::PodContainer { .. } => "pod_container",
        }
    }
}

/// The uid of a sandbox's pod, by which kubelet names the pod's directory. That of a static pod is
/// a digest of its file. `None` if there is no pod, or if the annotations contradict each other.
///
/// A runtime sets its own annotation over that of the pod, and passes on the others unchanged. So
/// one annotation alone may be forged by the pod, and all that exist must agree. A release of
/// containerd that does not set the uid sets the directory of the logs, `<namespace>_<name>_<uid>`,
/// in which no name contains `_`.
pub fn pod_uid(spec: &Spec) -> Option<String> {
    let annotations = spec.annotations().as_ref()?;
    let named = UIDS.iter().filter_map(|name| annotations.get(*name));
    let logs = annotations.get("io.kubernetes.cri.sandbox-log-directory");
    let logs = logs.and_then(|path| {
        let parts: Vec<_> = Path::new(path).file_name()?.to_str()?.split('_').collect();
        match parts[..] {
            [_, _, uid] => Some(uid),
            _ => None,
        }
    });
    let mut uids = named.map(String::as_str).chain(logs);
    let uid = uids.next()?;
    uids.all(|other| other == uid).then(|| uid.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_uid_is_kubelets_or_none() {
        let (uid, logs) = (
            "io.kubernetes.cri.sandbox-uid",
            "io.kubernetes.cri.sandbox-log-directory",
        );
        let of = |given: &[(&str, &str)]| {
            let annotations: HashMap<_, _> = given.iter().copied().collect();
            let spec = serde_json::json!({"ociVersion": "1.1.0", "annotations": annotations});
            pod_uid(&serde_json::from_value(spec).unwrap())
        };
        let some = |uid: &str| Some(uid.to_owned());
        assert_eq!(of(&[(uid, "6c8f")]), some("6c8f"));
        assert_eq!(of(&[(logs, "/var/log/pods/ns_name_6c8f")]), some("6c8f"));
        // A test tool's directory.
        assert_eq!(of(&[(uid, "6c8f"), (logs, "/tmp/logs")]), some("6c8f"));
        // An annotation of the pod's own, let through by a containerd that sets none.
        assert_eq!(of(&[(uid, "other"), (logs, "/l/ns_name_6c8f")]), None);
        let label = "io.kubernetes.pod.uid";
        assert_eq!(of(&[(label, "6c8f")]), some("6c8f"));
        assert_eq!(of(&[(uid, "6c8f"), (label, "6c8f")]), some("6c8f"));
        // The same of a CRI-O, which sets none of containerd's; and the other way round.
        assert_eq!(of(&[(uid, "other"), (label, "6c8f")]), None);
        assert_eq!(of(&[(uid, "6c8f"), (label, "other")]), None);
        assert_eq!(of(&[(label, "other"), (logs, "/l/ns_name_6c8f")]), None);
        assert_eq!(of(&[(logs, "/l/ns_name_with_uid")]), None);
        assert_eq!(of(&[]), None);
    }
}

//! Whether a container is a pod's sandbox, a member of a pod, or alone.

use std::collections::HashMap;

use oci_spec::runtime::Spec;

use super::{OciError, validate_id};

/// A family of annotations, as one kind of client sets them.
struct Family {
    kind: &'static str,
    sandbox: &'static str,
    container: &'static str,
    sandbox_id: &'static str,
}

/// In the order in which they are looked at: containerd's CRI, CRI-O, dockershim.
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

/// What a container is to its VM.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ContainerKind {
    /// A container with a VM of its own (`ctr`, `nerdctl`).
    SingleContainer,
    /// The first container of a pod, which brings the pod's VM.
    PodSandbox,
    /// A further container of a pod.
    PodContainer {
        /// Identifier of the pod's sandbox; valid as by [`validate_id`].
        sandbox_id: String,
    },
}

impl ContainerKind {
    /// Reads the kind from the annotations that containerd's CRI, CRI-O and dockershim set. An
    /// unknown kind, and a member of an unnamed pod, are errors.
    pub fn of(spec: &Spec) -> Result<Self, OciError> {
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

    /// The agent's word for it (annotation `io.katacontainers.pkg.oci.container_type`).
    pub(super) fn agent_name(&self) -> &'static str {
        match self {
            Self::SingleContainer => "single_container",
            Self::PodSandbox => "pod_sandbox",
            Self::PodContainer { .. } => "pod_container",
        }
    }
}

//! What a client asks for, read and checked.

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
};

use oci::{Bundle, ContainerKind, OciError};
use oci_spec::runtime::Spec;
use pod::io::Stdio;
use resources::Demand;
use rootfs::Mount;

use crate::{error::Error, shared_files::Content};

/// A container that a pod is to have.
#[derive(Debug)]
pub struct ContainerRequest {
    /// Its id, valid as by [`validate_id`](oci::validate_id).
    pub id: String,
    /// What it is to its VM.
    pub kind: ContainerKind,
    /// Its bundle, with the specification.
    pub bundle: Bundle,
    /// What its root file system is to be made from; its bundle's own directory where there is
    /// none.
    pub mounts: Vec<Mount>,
    /// The standard streams of its init.
    pub stdio: Stdio,
}

impl ContainerRequest {
    /// Reads the bundle in the directory `path`, and checks the id.
    ///
    /// # Errors
    /// What about them cannot be used.
    pub fn read(
        id: String,
        path: &Path,
        mounts: Vec<Mount>,
        stdio: Stdio,
    ) -> Result<Self, OciError> {
        oci::validate_id(&id)?;
        let mut bundle = oci::load_bundle(path)?;
        let kind = ContainerKind::from_spec(&bundle.spec)?;
        if !matches!(kind, ContainerKind::PodContainer { .. }) {
            oci::join_no_processes(&mut bundle.spec)?;
        }
        Ok(Self {
            id,
            kind,
            bundle,
            mounts,
            stdio,
        })
    }
}

/// A pod without any container yet.
#[derive(Debug)]
pub struct PodRequest {
    pub(crate) id: String,
    /// The directory in which the client finds the pod.
    pub(crate) bundle: PathBuf,
    /// The configuration file that the runtime's options name.
    pub(crate) config: Option<PathBuf>,
    pub(crate) annotations: BTreeMap<String, String>,
    pub(crate) network: network::Request,
    /// The path of its cgroup, as the specification has it.
    pub(crate) cgroup: Option<PathBuf>,
    /// It will have its first container and no other.
    pub(crate) alone: bool,
    pub(crate) demand: Demand,
    pub(crate) uid: Option<String>,
    pub(crate) hostname: String,
    /// What its containers share, where no first container brings it.
    pub(crate) shared: Option<Content>,
}

impl PodRequest {
    /// A pod that comes with its first container, and ends with it.
    ///
    /// # Errors
    /// The container asks for the node's own network.
    pub fn of_container(first: &ContainerRequest, config: Option<PathBuf>) -> Result<Self, Error> {
        let bundle = &first.bundle;
        let request = Self::described(first.id.clone(), bundle.path.clone(), &bundle.spec)?;
        Ok(Self {
            alone: first.kind == ContainerKind::SingleContainer,
            config,
            ..request
        })
    }

    /// A pod that stays without containers until they are added. `spec` is what a pause container's
    /// specification would say; `bundle` is the sandbox's directory.
    ///
    /// # Errors
    /// The pod asks for the node's own network.
    pub fn of_sandbox(
        id: String,
        bundle: PathBuf,
        spec: &Spec,
        shared: Content,
    ) -> Result<Self, Error> {
        Ok(Self {
            shared: Some(shared),
            ..Self::described(id, bundle, spec)?
        })
    }

    /// The pod's id, and that of its sandbox.
    #[must_use]
    pub fn id(&self) -> &str {
        &self.id
    }

    fn described(id: String, bundle: PathBuf, spec: &Spec) -> Result<Self, Error> {
        let annotations = spec.annotations().iter().flatten();
        let linux = spec.linux().as_ref();
        Ok(Self {
            annotations: annotations
                .map(|(name, value)| (name.clone(), value.clone()))
                .collect(),
            network: network::of_specification(spec)?,
            cgroup: linux.and_then(|linux| linux.cgroups_path().clone()),
            alone: false,
            demand: demand(spec),
            uid: oci::pod_uid(spec),
            hostname: hostname(spec, &id),
            config: None,
            shared: None,
            bundle,
            id,
        })
    }
}

/// What the sandbox was announced to need: by kubelet for a pod, by its own limits for a container.
fn demand(spec: &Spec) -> Demand {
    let announced = spec.annotations().as_ref().map(Demand::of_annotations);
    let linux = spec.linux().as_ref();
    let limits = linux.and_then(|linux| linux.resources().as_ref());
    let own = limits.map(Demand::of_limits);
    announced.unwrap_or_default().or(own.unwrap_or_default())
}

/// A container without a hostname would share the host's; a guest has none, so it gets the id.
fn hostname(spec: &Spec, id: &str) -> String {
    let given = spec.hostname().as_deref().unwrap_or_default();
    if given.is_empty() { id } else { given }.to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn spec(json: &str) -> Spec {
        serde_json::from_str(json).unwrap()
    }

    const ISOLATED: &str = r#""linux": {"namespaces": [{"type": "network"}],
        "resources": {"memory": {"limit": 67108864}}, "cgroupsPath": "/pods/a"}"#;

    fn request(kind: ContainerKind, spec: Spec) -> Result<PodRequest, Error> {
        let first = ContainerRequest {
            id: "a".to_owned(),
            kind,
            bundle: Bundle {
                path: "/bundle".into(),
                spec,
            },
            mounts: Vec::new(),
            stdio: Stdio::default(),
        };
        PodRequest::of_container(&first, Some("/config".into()))
    }

    #[test]
    fn a_container_says_what_its_pod_needs() {
        let spec = spec(&format!(r#"{{"ociVersion": "1.1.0", {ISOLATED}}}"#));
        let alone = request(ContainerKind::SingleContainer, spec.clone()).unwrap();
        assert_eq!(
            (alone.id(), &*alone.hostname, alone.alone),
            ("a", "a", true)
        );
        assert_eq!(alone.network, network::Request::New);
        assert_eq!(alone.demand.memory_bytes, 64 << 20);
        assert_eq!(alone.cgroup.as_deref(), Some(Path::new("/pods/a")));
        assert_eq!(alone.config.as_deref(), Some(Path::new("/config")));
        assert!(alone.shared.is_none());
        let pause = request(ContainerKind::PodSandbox, spec).unwrap();
        assert!(!pause.alone);
    }

    #[test]
    fn a_pod_on_the_nodes_network_is_refused() {
        let host = spec(r#"{"ociVersion": "1.1.0", "linux": {"namespaces": []}}"#);
        let refused = request(ContainerKind::PodSandbox, host);
        assert!(matches!(refused, Err(Error::Network(_))));
    }
}

//! A pod as the sandbox API describes it: no container stands for it, so what a pause container's
//! specification would say is read from the CRI's own configuration of the pod.

use std::path::Path;

use assembly::Content;
use containerd_shim_protos::protobuf::{self, Message, well_known_types::any::Any};
use oci::OciError;
use oci_spec::runtime::Spec;
use serde_json::json;

/// The messages, generated from `protos/pod.proto`.
#[allow(
    missing_docs,
    clippy::all,
    clippy::pedantic,
    clippy::panic,
    clippy::unwrap_used
)]
mod generated {
    include!(concat!(env!("OUT_DIR"), "/pod/mod.rs"));
}
use generated::pod as wire;

/// A pod's configuration that cannot be used.
#[derive(Debug, thiserror::Error)]
#[error("The pod's configuration is no valid runtime.v1.PodSandboxConfig")]
pub struct PodConfigError(#[source] protobuf::Error);

/// A pod's configuration, read.
#[derive(Debug)]
pub struct PodConfig {
    message: wire::PodSandboxConfig,
    /// Whether the CRI sent it; others send none.
    by_cri: bool,
}

impl PodConfig {
    /// Reads what came with a CreateSandbox request. Options of another type describe nothing.
    ///
    /// # Errors
    /// The message is damaged.
    pub fn read(options: Option<&Any>) -> Result<Self, PodConfigError> {
        let cri = options.filter(|any| any.type_url.ends_with("runtime.v1.PodSandboxConfig"));
        let message = match cri {
            Some(any) => wire::PodSandboxConfig::parse_from_bytes(&any.value),
            None => Ok(wire::PodSandboxConfig::new()),
        };
        Ok(Self {
            message: message.map_err(PodConfigError)?,
            by_cri: cri.is_some(),
        })
    }

    /// The specification that a pause container of this pod would have, as far as it is about the
    /// pod. Of annotations there are those that tell its size and its uid: which of a pod's own a
    /// runtime may see is decided by containerd's configuration, which the sandbox API goes past.
    ///
    /// # Errors
    /// Something in it is no part of a specification.
    pub fn spec(&self, id: &str, netns: &str) -> Result<Spec, OciError> {
        let linux = self.message.linux.as_ref().cloned().unwrap_or_default();
        let resources = linux.resources.unwrap_or_default();
        let size = [
            ("period", resources.cpu_period),
            ("quota", resources.cpu_quota),
            ("shares", resources.cpu_shares),
        ];
        let mut annotations: serde_json::Map<_, _> = size
            .into_iter()
            .map(|(name, value)| (format!("io.kubernetes.cri.sandbox-cpu-{name}"), value))
            .map(|(name, value)| (name, json!(value.to_string())))
            .collect();
        if let Some(metadata) = self.message.metadata.as_ref() {
            let uid = "io.kubernetes.cri.sandbox-uid".to_owned();
            annotations.insert(uid, json!(metadata.uid));
        }
        let memory = json!(resources.memory_limit_in_bytes.to_string());
        annotations.insert("io.kubernetes.cri.sandbox-memory".to_owned(), memory);
        // The CRI makes a namespace, or means that of the node.
        let namespaces = match (netns, self.by_cri) {
            ("", true) => json!([]),
            ("", false) => json!([{"type": "network"}]),
            (path, _) => json!([{"type": "network", "path": path}]),
        };
        let mut spec = json!({
            "ociVersion": "1.1.0",
            "hostname": self.message.hostname,
            "annotations": annotations,
            "linux": {"namespaces": namespaces},
        });
        if !linux.cgroup_parent.is_empty() {
            spec["linux"]["cgroupsPath"] = json!(cgroups_path(&linux.cgroup_parent, id));
        }
        serde_json::from_value(spec).map_err(|source| OciError::Parse {
            what: "The pod's configuration".to_owned(),
            source,
        })
    }

    /// What all containers of the pod are to have.
    pub fn content(&self, id: &str) -> Content {
        let hostname = match self.message.hostname.as_str() {
            "" => id,
            given => given,
        };
        let linux = self.message.linux.as_ref();
        Content {
            hostname: hostname.to_owned(),
            resolv_conf: self.message.dns_config.as_ref().map(resolv_conf),
            sysctls: linux.map(|linux| linux.sysctls.clone()).unwrap_or_default(),
        }
    }
}

/// The path that the CRI plugin gives a container under this parent: in systemd's form for a slice.
fn cgroups_path(parent: &str, id: &str) -> String {
    let name = Path::new(parent).file_name().unwrap_or_default();
    let name = name.to_string_lossy();
    if name.ends_with(".slice") {
        format!("{name}:cri-containerd:{id}")
    } else {
        format!("{}/{id}", parent.trim_end_matches('/'))
    }
}

/// The text of the file, as resolv.conf(5) has it.
fn resolv_conf(dns: &wire::DNSConfig) -> String {
    let mut text = String::new();
    let mut line = |keyword: &str, values: &[String]| {
        if !values.is_empty() {
            text.push_str(&format!("{keyword} {}\n", values.join(" ")));
        }
    };
    line("search", &dns.searches);
    for server in &dns.servers {
        line("nameserver", std::slice::from_ref(server));
    }
    line("options", &dns.options);
    text
}

#[cfg(test)]
mod tests {
    use resources::Demand;

    use super::*;

    fn any(config: &wire::PodSandboxConfig) -> Any {
        Any {
            type_url: "type.googleapis.com/runtime.v1.PodSandboxConfig".to_owned(),
            value: config.write_to_bytes().unwrap(),
            ..Default::default()
        }
    }

    #[test]
    fn the_cris_configuration_says_what_a_pause_containers_specification_would() {
        let mut config = wire::PodSandboxConfig::new();
        config.hostname = "web".to_owned();
        let linux = config.linux.mut_or_insert_default();
        linux.cgroup_parent = "/kubepods.slice/kubepods-pod1.slice".to_owned();
        linux.sysctls.insert("net.a".to_owned(), "1".to_owned());
        let resources = linux.resources.mut_or_insert_default();
        (resources.cpu_period, resources.cpu_quota) = (100_000, 150_000);
        resources.memory_limit_in_bytes = 64 << 20;
        let dns = config.dns_config.mut_or_insert_default();
        dns.servers = vec!["10.0.0.1".to_owned(), "10.0.0.2".to_owned()];
        dns.searches = vec!["a.local".to_owned(), "b.local".to_owned()];

        let read = PodConfig::read(Some(&any(&config))).unwrap();
        let spec = read.spec("id", "/run/netns/a").unwrap();
        assert_eq!(spec.hostname().as_deref(), Some("web"));
        let path = spec.linux().as_ref().unwrap().cgroups_path().as_ref();
        let expected = Path::new("kubepods-pod1.slice:cri-containerd:id");
        assert_eq!(path.unwrap(), expected);
        let demand = Demand::of_annotations(spec.annotations().as_ref().unwrap());
        assert_eq!((demand.cpu_millis, demand.memory_bytes), (1500, 64 << 20));
        assert_eq!(
            network::of_specification(&spec).unwrap(),
            network::Request::Existing("/run/netns/a".into())
        );
        let content = read.content("id");
        assert_eq!(
            content.resolv_conf.as_deref(),
            Some("search a.local b.local\nnameserver 10.0.0.1\nnameserver 10.0.0.2\n")
        );
        assert_eq!(
            (content.hostname.as_str(), content.sysctls.len()),
            ("web", 1)
        );
    }

    #[test]
    fn without_a_namespace_the_cri_means_the_nodes() {
        let cri = PodConfig::read(Some(&any(&wire::PodSandboxConfig::new()))).unwrap();
        let spec = cri.spec("id", "").unwrap();
        assert!(network::of_specification(&spec).is_err());
        let other = PodConfig::read(None).unwrap();
        let spec = other.spec("id", "").unwrap();
        assert_eq!(
            network::of_specification(&spec).unwrap(),
            network::Request::New
        );
        assert_eq!(other.content("id").hostname, "id");
    }

    #[test]
    fn a_damaged_configuration_is_told() {
        let mut damaged = any(&wire::PodSandboxConfig::new());
        damaged.value = vec![0xff, 0xff];
        assert!(PodConfig::read(Some(&damaged)).is_err());
    }

    #[test]
    fn a_parent_that_is_no_slice_is_a_directory() {
        assert_eq!(cgroups_path("/kubepods/pod1", "id"), "/kubepods/pod1/id");
    }
}

//! From the wire's OCI specification to the runtime's `config.json`.
//!
//! On the wire a missing number is zero and a missing text is empty. In the result they are left
//! out: to an OCI runtime, a memory limit of 0 would be a limit.

mod linux;
mod process;
mod resources;

pub use linux::Adaptation;
pub use process::{exec_process, process};
pub use resources::resources;

use agent_client::oci::{Hook, Hooks, Mount, Spec};
use serde_json::{Map, Value, json};

use crate::error::{Error, Result};

/// Version of the OCI runtime specification that the result conforms to.
const OCI_VERSION: &str = "1.0.2";

/// The content of `config.json` for `spec`, adapted to this guest.
///
/// # Errors
///
/// When the process or the root is missing, or the process is invalid.
pub fn configuration(spec: &Spec, adaptation: &Adaptation) -> Result<Value> {
    let wanted = spec
        .Process
        .as_ref()
        .ok_or_else(|| Error::Invalid("the OCI specification has no process".into()))?;
    let root = spec
        .Root
        .as_ref()
        .ok_or_else(|| Error::Invalid("the OCI specification has no root".into()))?;
    let mut configuration = Map::new();
    configuration.insert("ociVersion".into(), OCI_VERSION.into());
    configuration.insert("process".into(), process(wanted)?);
    configuration.insert(
        "root".into(),
        json!({"path": root.Path, "readonly": root.Readonly}),
    );
    configuration.insert("mounts".into(), spec.Mounts.iter().map(mount).collect());
    configuration.insert(
        "linux".into(),
        linux::linux(spec.Linux.get_or_default(), adaptation),
    );
    if let Some(hooks) = spec.Hooks.as_ref() {
        configuration.insert("hooks".into(), all_hooks(hooks));
    }
    if !adaptation.shares_uts() && !spec.Hostname.is_empty() {
        configuration.insert("hostname".into(), spec.Hostname.clone().into());
    }
    if !spec.Annotations.is_empty() {
        configuration.insert("annotations".into(), json!(spec.Annotations));
    }
    Ok(Value::Object(configuration))
}

fn mount(mount: &Mount) -> Value {
    json!({
        "destination": mount.destination,
        "source": mount.source,
        "type": mount.type_,
        "options": mount.options,
    })
}

fn all_hooks(hooks: &Hooks) -> Value {
    json!({
        "prestart": list(&hooks.Prestart),
        "createRuntime": list(&hooks.CreateRuntime),
        "createContainer": list(&hooks.CreateContainer),
        "startContainer": list(&hooks.StartContainer),
        "poststart": list(&hooks.Poststart),
        "poststop": list(&hooks.Poststop),
    })
}

fn list(hooks: &[Hook]) -> Value {
    hooks
        .iter()
        .map(|hook| {
            let mut value = json!({"path": hook.Path, "args": hook.Args, "env": hook.Env});
            if hook.Timeout > 0 {
                value["timeout"] = hook.Timeout.into();
            }
            value
        })
        .collect()
}

/// Collects the members of a JSON object.
#[derive(Default)]
struct Members(Map<String, Value>);

impl Members {
    /// Adds `value` unless it is the default, which on the wire means that it is missing.
    fn add_if_set<T: Default + PartialEq + Into<Value> + Clone>(&mut self, name: &str, value: &T) {
        if *value != T::default() {
            self.0.insert(name.to_owned(), value.clone().into());
        }
    }

    /// Adds `value`, also if it is the default.
    fn add(&mut self, name: &str, value: impl Into<Value>) {
        self.0.insert(name.to_owned(), value.into());
    }

    fn finish(self) -> Value {
        Value::Object(self.0)
    }
}

#[cfg(test)]
mod tests {
    use agent_client::oci::{Linux, LinuxMemory, LinuxNamespace, LinuxResources, Process, Root};

    use super::*;

    fn spec() -> Spec {
        let namespaces = ["pid", "network", "ipc", "uts", "mount", "cgroup"]
            .map(|kind| LinuxNamespace {
                Type: kind.into(),
                ..Default::default()
            })
            .to_vec();
        let memory = LinuxMemory {
            Limit: 1 << 20,
            ..Default::default()
        };
        let resources = LinuxResources {
            Memory: Some(memory).into(),
            ..Default::default()
        };
        Spec {
            Process: Some(Process {
                Args: vec!["true".into()],
                ..Default::default()
            })
            .into(),
            Root: Some(Root {
                Path: "/rootfs".into(),
                Readonly: true,
                ..Default::default()
            })
            .into(),
            Hostname: "host".into(),
            Linux: Some(Linux {
                Namespaces: namespaces,
                Resources: Some(resources).into(),
                ..Default::default()
            })
            .into(),
            ..Default::default()
        }
    }

    fn namespace_kinds(configuration: &Value) -> Vec<&str> {
        configuration["linux"]["namespaces"]
            .as_array()
            .unwrap()
            .iter()
            .map(|one| one["type"].as_str().unwrap())
            .collect()
    }

    #[test]
    fn in_a_guest_the_pods_namespaces_are_the_guests() {
        let adaptation = Adaptation {
            guest_is_pod: true,
            pid_namespace: Some("/proc/7/ns/pid".into()),
            cgroup: "/group".into(),
            ..Default::default()
        };
        let configuration = configuration(&spec(), &adaptation).unwrap();
        assert_eq!(namespace_kinds(&configuration), ["mount", "pid", "cgroup"]);
        assert_eq!(
            configuration["linux"]["namespaces"][1]["path"],
            "/proc/7/ns/pid"
        );
        assert_eq!(configuration["linux"]["cgroupsPath"], "/group");
        assert!(configuration.get("hostname").is_none());
    }

    #[test]
    fn on_a_host_a_container_gets_namespaces_of_its_own() {
        let configuration = configuration(&spec(), &Adaptation::default()).unwrap();
        assert_eq!(
            namespace_kinds(&configuration),
            ["network", "ipc", "uts", "mount", "pid"]
        );
        assert_eq!(configuration["hostname"], "host");
    }

    #[test]
    fn libcontainer_can_parse_the_result() {
        let configuration = configuration(&spec(), &Adaptation::default()).unwrap();
        let memory = &configuration["linux"]["resources"]["memory"];
        assert_eq!(*memory, json!({"limit": 1 << 20}));
        let parsed: oci_spec::runtime::Spec = serde_json::from_value(configuration).unwrap();
        let process = parsed.process().as_ref().unwrap();
        assert_eq!(process.no_new_privileges(), None);
        assert!(
            process
                .capabilities()
                .as_ref()
                .unwrap()
                .bounding()
                .as_ref()
                .unwrap()
                .is_empty()
        );
        assert_eq!(process.cwd().to_str(), Some("/"));
    }

    #[test]
    fn an_incomplete_specification_is_refused() {
        let adaptation = Adaptation::default();
        assert!(configuration(&Spec::new(), &adaptation).is_err());
        let mut no_arguments = spec();
        no_arguments.Process.as_mut().unwrap().Args.clear();
        assert!(configuration(&no_arguments, &adaptation).is_err());
        let mut nul = spec();
        nul.Process.as_mut().unwrap().Env.push("a=\0".into());
        assert!(configuration(&nul, &adaptation).is_err());
    }

    #[test]
    fn an_executed_process_inherits_what_it_does_not_set() {
        let container = Process {
            Env: vec!["A=1".into()],
            Cwd: "/work".into(),
            NoNewPrivileges: true,
            OOMScoreAdj: 500,
            Capabilities: Some(Default::default()).into(),
            ..Default::default()
        };
        let wanted = Process {
            Args: vec!["id".into()],
            Env: vec!["B=2".into()],
            ..Default::default()
        };
        let process = exec_process(wanted, &container);
        assert_eq!((process.Cwd.as_str(), process.OOMScoreAdj), ("/work", 500));
        assert!(process.NoNewPrivileges && process.Capabilities.is_some());
        assert_eq!(process.Env, ["B=2"]);
    }
}

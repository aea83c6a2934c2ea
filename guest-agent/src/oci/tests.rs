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
fn on_a_host_a_container_gets_its_own() {
    let configuration = configuration(&spec(), &Adaptation::default()).unwrap();
    assert_eq!(
        namespace_kinds(&configuration),
        ["network", "ipc", "uts", "mount", "pid"]
    );
    assert_eq!(configuration["hostname"], "host");
}

#[test]
fn the_runtime_understands_the_result_and_sees_only_what_was_given() {
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
fn what_cannot_be_a_container_is_refused() {
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
fn an_executed_process_inherits_what_it_does_not_say() {
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

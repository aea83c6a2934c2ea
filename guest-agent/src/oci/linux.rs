//! The Linux part of a specification, fitted to a guest that is the pod.

use std::collections::HashMap;

use agent_client::oci::{Linux, LinuxDevice, LinuxNamespace, LinuxSeccomp};
use serde_json::{Value, json};

use super::{Members, resources};

/// What the specification does not know: where in this guest the container will be.
#[derive(Debug, Default)]
pub struct Adaptation {
    /// The agent is init: the guest's own network, IPC and UTS namespaces are the pod's.
    pub guest_is_pod: bool,
    /// The pid namespace to join; without one the container gets its own.
    pub pid_namespace: Option<String>,
    /// Absolute path of the container's group below the root group.
    pub cgroup: String,
    /// Block devices that were waited for: path in the container to major and minor number.
    pub block_devices: HashMap<String, (u64, u64)>,
}

impl Adaptation {
    /// Whether the container uses the guest's own UTS namespace, and so the pod's host name.
    pub fn shares_uts(&self) -> bool {
        self.guest_is_pod
    }
}

pub fn linux(linux: &Linux, adaptation: &Adaptation) -> Value {
    let mut members = Members::default();
    members.always("namespaces", namespaces(&linux.Namespaces, adaptation));
    members.always("cgroupsPath", adaptation.cgroup.clone());
    members.always("resources", resources(linux.Resources.get_or_default()));
    members.always("devices", devices(&linux.Devices, adaptation));
    members.always("maskedPaths", linux.MaskedPaths.clone());
    members.always("readonlyPaths", linux.ReadonlyPaths.clone());
    members.given("rootfsPropagation", &linux.RootfsPropagation);
    members.given("mountLabel", &linux.MountLabel);
    if let Some(filter) = linux.Seccomp.as_ref() {
        members.always("seccomp", seccomp(filter));
    }
    for (name, mappings) in [
        ("uidMappings", &linux.UIDMappings),
        ("gidMappings", &linux.GIDMappings),
    ] {
        if !mappings.is_empty() {
            let list: Vec<Value> = mappings
                .iter()
                .map(|one| {
                    json!({"hostID": one.HostID, "containerID": one.ContainerID, "size": one.Size})
                })
                .collect();
            members.always(name, list);
        }
    }
    members.finish()
}

/// A guest runs one pod, so the pod's network, IPC and UTS namespaces are the guest's own; and the
/// caller leaves the choice of the pid namespace to the agent.
fn namespaces(wanted: &[LinuxNamespace], adaptation: &Adaptation) -> Value {
    let of_the_pod =
        |kind: &str| adaptation.guest_is_pod && matches!(kind, "network" | "ipc" | "uts");
    let mut list: Vec<Value> = wanted
        .iter()
        .filter(|one| one.Type != "pid" && one.Type != "cgroup" && !of_the_pod(&one.Type))
        .map(|one| namespace(&one.Type, &one.Path))
        .collect();
    list.push(namespace(
        "pid",
        adaptation.pid_namespace.as_deref().unwrap_or_default(),
    ));
    if adaptation.guest_is_pod {
        list.push(namespace("cgroup", ""));
    }
    list.into()
}

fn namespace(kind: &str, path: &str) -> Value {
    if path.is_empty() {
        json!({"type": kind})
    } else {
        json!({"type": kind, "path": path})
    }
}

fn devices(wanted: &[LinuxDevice], adaptation: &Adaptation) -> Value {
    let mut list: Vec<Value> = wanted
        .iter()
        .filter(|one| !adaptation.block_devices.contains_key(&one.Path))
        .map(|one| device(one, one.Major, one.Minor))
        .collect();
    for (path, (major, minor)) in &adaptation.block_devices {
        let given = wanted
            .iter()
            .find(|one| one.Path == *path)
            .cloned()
            .unwrap_or_default();
        let given = LinuxDevice {
            Path: path.clone(),
            Type: "b".into(),
            ..given
        };
        list.push(device(&given, major.cast_signed(), minor.cast_signed()));
    }
    list.into()
}

fn device(device: &LinuxDevice, major: i64, minor: i64) -> Value {
    let mode = if device.FileMode == 0 {
        0o666
    } else {
        device.FileMode & 0o7777
    };
    json!({
        "path": device.Path,
        "type": device.Type,
        "major": major,
        "minor": minor,
        "fileMode": mode,
        "uid": device.UID,
        "gid": device.GID,
    })
}

fn seccomp(filter: &LinuxSeccomp) -> Value {
    let syscalls: Vec<Value> = filter
        .Syscalls
        .iter()
        .map(|rule| {
            let arguments: Vec<Value> = rule
                .Args
                .iter()
                .map(|one| {
                    json!({
                        "index": one.Index,
                        "value": one.Value,
                        "valueTwo": one.ValueTwo,
                        "op": one.Op,
                    })
                })
                .collect();
            let mut members = Members::default();
            members.always("names", rule.Names.clone());
            members.always("action", rule.Action.clone());
            if rule.has_errnoret() {
                members.always("errnoRet", rule.errnoret());
            }
            if !arguments.is_empty() {
                members.always("args", arguments);
            }
            members.finish()
        })
        .collect();
    let mut members = Members::default();
    members.always("defaultAction", filter.DefaultAction.clone());
    if !filter.Architectures.is_empty() {
        members.always("architectures", filter.Architectures.clone());
    }
    if !filter.Flags.is_empty() {
        members.always("flags", filter.Flags.clone());
    }
    members.always("syscalls", syscalls);
    members.finish()
}

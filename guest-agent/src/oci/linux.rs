//! The Linux part of a specification, adapted to this guest.

use std::collections::HashMap;

use agent_client::oci::{
    Linux, LinuxDevice, LinuxNamespace, LinuxSeccomp, LinuxSeccompArg, LinuxSyscall,
};
use serde_json::{Value, json};

use super::{Members, resources};

/// What a specification is adapted to: the guest, and what it has for the container.
#[derive(Debug, Default)]
pub struct Adaptation {
    /// Whether the agent is PID 1 of a guest. The guest's network, IPC and UTS namespaces are then
    /// the pod's.
    pub guest_is_pod: bool,
    /// Path of the pid namespace to join; `None` for a new one.
    pub pid_namespace: Option<String>,
    /// Absolute path of the container's cgroup below the root cgroup.
    pub cgroup: String,
    /// Major and minor numbers of the block devices, by their paths in the container.
    pub block_devices: HashMap<String, (u64, u64)>,
}

impl Adaptation {
    /// Whether the container uses the guest's UTS namespace, and so the pod's host name.
    pub fn shares_uts(&self) -> bool {
        self.guest_is_pod
    }
}

/// The member `linux` of the configuration.
pub fn linux(linux: &Linux, adaptation: &Adaptation) -> Value {
    let mut members = Members::default();
    members.add("namespaces", namespaces(&linux.Namespaces, adaptation));
    members.add("cgroupsPath", adaptation.cgroup.clone());
    members.add("resources", resources(linux.Resources.get_or_default()));
    members.add("devices", devices(&linux.Devices, adaptation));
    members.add("maskedPaths", linux.MaskedPaths.clone());
    members.add("readonlyPaths", linux.ReadonlyPaths.clone());
    members.add_if_set("rootfsPropagation", &linux.RootfsPropagation);
    members.add_if_set("mountLabel", &linux.MountLabel);
    if let Some(filter) = linux.Seccomp.as_ref() {
        members.add("seccomp", seccomp(filter));
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
            members.add(name, list);
        }
    }
    members.finish()
}

/// In a guest the pod's network, IPC and UTS namespaces are the guest's own, and are left out. The
/// pid namespace is always the agent's choice.
fn namespaces(wanted: &[LinuxNamespace], adaptation: &Adaptation) -> Value {
    let is_the_pods =
        |kind: &str| adaptation.guest_is_pod && matches!(kind, "network" | "ipc" | "uts");
    let mut list: Vec<Value> = wanted
        .iter()
        .filter(|one| one.Type != "pid" && one.Type != "cgroup" && !is_the_pods(&one.Type))
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
    let syscalls: Vec<Value> = filter.Syscalls.iter().map(seccomp_rule).collect();
    let mut members = Members::default();
    members.add("defaultAction", filter.DefaultAction.clone());
    if !filter.Architectures.is_empty() {
        members.add("architectures", filter.Architectures.clone());
    }
    if !filter.Flags.is_empty() {
        members.add("flags", filter.Flags.clone());
    }
    members.add("syscalls", syscalls);
    members.finish()
}

fn seccomp_rule(rule: &LinuxSyscall) -> Value {
    let mut members = Members::default();
    members.add("names", rule.Names.clone());
    members.add("action", rule.Action.clone());
    if rule.has_errnoret() {
        members.add("errnoRet", rule.errnoret());
    }
    let argument = |one: &LinuxSeccompArg| {
        json!({
            "index": one.Index,
            "value": one.Value,
            "valueTwo": one.ValueTwo,
            "op": one.Op,
        })
    };
    if !rule.Args.is_empty() {
        let arguments: Vec<Value> = rule.Args.iter().map(argument).collect();
        members.add("args", arguments);
    }
    members.finish()
}

//! The Linux part of a specification as the guest gets it.

use agent_client::oci as wire;
use host::LinuxNamespaceType as Ns;
use oci_spec::runtime as host;

use super::{
    OciError, devices,
    process::{text, wire_name},
    resources::{Applied, guest_resources},
    seccomp::guest_seccomp,
};

/// The Linux part, and what was found on the way.
pub(super) struct GuestLinux {
    pub(super) linux: wire::Linux,
    /// The host's specification joins an existing pid namespace: the pod shares one.
    pub(super) joins_pid_namespace: bool,
    /// Names of the parts that were set and that the guest does not get.
    pub(super) left_out: Vec<&'static str>,
}

pub(super) fn guest_linux(
    host: &host::Linux,
    guest_seccomp_enabled: bool,
) -> Result<GuestLinux, OciError> {
    let mut left_out = Vec::new();
    let resources = host.resources().as_ref().map(|host| {
        let Applied {
            mut resources,
            left_out: names,
        } = guest_resources(host);
        left_out.extend(names);
        if devices::has_own_numbers(host) {
            left_out.push("device rules for numbers of the host's own");
        }
        resources.Devices = devices::rules(host);
        resources
    });
    let seccomp = match host.seccomp() {
        Some(filter) if guest_seccomp_enabled => Some(guest_seccomp(filter)?),
        Some(_) => {
            left_out.push("linux.seccomp");
            None
        }
        None => None,
    };
    left_out.extend(unknown_to_agent(host));
    let namespaces: &[_] = host.namespaces().as_deref().unwrap_or_default();
    let linux = wire::Linux {
        UIDMappings: host
            .uid_mappings()
            .iter()
            .flatten()
            .map(id_mapping)
            .collect(),
        GIDMappings: host
            .gid_mappings()
            .iter()
            .flatten()
            .map(id_mapping)
            .collect(),
        Sysctl: host.sysctl().clone().unwrap_or_default(),
        Resources: resources.into(),
        CgroupsPath: match host.cgroups_path() {
            Some(path) => text(path, "linux.cgroupsPath")?,
            None => String::new(),
        },
        Namespaces: namespaces
            .iter()
            .filter(|ns| made_in_guest(ns.typ()))
            .map(namespace)
            .collect(),
        Devices: host
            .devices()
            .iter()
            .flatten()
            .filter(|device| !devices::every_container_has(device))
            .map(device)
            .collect::<Result<_, _>>()?,
        Seccomp: seccomp.into(),
        RootfsPropagation: host.rootfs_propagation().clone().unwrap_or_default(),
        MaskedPaths: host.masked_paths().clone().unwrap_or_default(),
        ReadonlyPaths: host.readonly_paths().clone().unwrap_or_default(),
        ..Default::default()
    };
    Ok(GuestLinux {
        linux,
        joins_pid_namespace: namespaces.iter().any(joins_pid_namespace),
        left_out,
    })
}

/// The guest's own network, cgroup and time namespaces serve all containers; the agent adds the
/// pid namespace itself.
fn made_in_guest(kind: Ns) -> bool {
    !matches!(kind, Ns::Network | Ns::Cgroup | Ns::Time | Ns::Pid)
}

fn joins_pid_namespace(namespace: &host::LinuxNamespace) -> bool {
    namespace.typ() == Ns::Pid
        && namespace
            .path()
            .as_ref()
            .is_some_and(|path| !path.as_os_str().is_empty())
}

fn unknown_to_agent(host: &host::Linux) -> impl Iterator<Item = &'static str> {
    [
        (host.intel_rdt().is_some(), "linux.intelRdt"),
        (host.net_devices().is_some(), "linux.netDevices"),
        (host.memory_policy().is_some(), "linux.memoryPolicy"),
        (host.personality().is_some(), "linux.personality"),
        (host.time_offsets().is_some(), "linux.timeOffsets"),
    ]
    .into_iter()
    .filter_map(|(present, name)| present.then_some(name))
}

fn namespace(namespace: &host::LinuxNamespace) -> wire::LinuxNamespace {
    wire::LinuxNamespace {
        Type: wire_name(&namespace.typ()),
        ..Default::default()
    }
}

fn id_mapping(mapping: &host::LinuxIdMapping) -> wire::LinuxIDMapping {
    wire::LinuxIDMapping {
        HostID: mapping.host_id(),
        ContainerID: mapping.container_id(),
        Size: mapping.size(),
        ..Default::default()
    }
}

fn device(device: &host::LinuxDevice) -> Result<wire::LinuxDevice, OciError> {
    Ok(wire::LinuxDevice {
        Path: text(device.path(), "linux.devices.path")?,
        Type: device.typ().as_str().to_owned(),
        Major: device.major(),
        Minor: device.minor(),
        FileMode: device.file_mode().unwrap_or(0o666),
        UID: device.uid().unwrap_or_default(),
        GID: device.gid().unwrap_or_default(),
        ..Default::default()
    })
}

//! The part `linux` of a specification for the guest.

use agent_client::oci as wire;
use host::LinuxNamespaceType as Ns;
use oci_spec::runtime as host;

use super::{
    OciError, devices,
    process::{text, wire_name},
    resources::{GuestResources, guest_resources},
    seccomp::guest_seccomp,
};

/// The part `linux` for the guest, and what was learnt from the host's.
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
    let resources = host.resources().as_ref();
    let resources = resources.map(|host| with_device_rules(host, &mut left_out));
    let seccomp = seccomp(host, guest_seccomp_enabled, &mut left_out)?;
    left_out.extend(unknown_to_agent(host));
    let namespaces: &[_] = host.namespaces().as_deref().unwrap_or_default();
    let linux = wire::Linux {
        UIDMappings: id_mappings(host.uid_mappings()),
        GIDMappings: id_mappings(host.gid_mappings()),
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
        Devices: listed_devices(host)?,
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

/// Resources for the guest, with the device rules that mean the same there.
fn with_device_rules(
    host: &host::LinuxResources,
    left_out: &mut Vec<&'static str>,
) -> wire::LinuxResources {
    let GuestResources {
        mut resources,
        left_out: names,
    } = guest_resources(host);
    left_out.extend(names);
    if devices::has_own_numbers(host) {
        left_out.push("device rules for numbers of the host's own");
    }
    resources.Devices = devices::rules(host);
    resources
}

fn seccomp(
    host: &host::Linux,
    enabled: bool,
    left_out: &mut Vec<&'static str>,
) -> Result<Option<wire::LinuxSeccomp>, OciError> {
    match host.seccomp() {
        Some(filter) if enabled => guest_seccomp(filter).map(Some),
        Some(_) => {
            left_out.push("linux.seccomp");
            Ok(None)
        }
        None => Ok(None),
    }
}

/// The devices of the specification, without those that the agent makes by itself.
fn listed_devices(host: &host::Linux) -> Result<Vec<wire::LinuxDevice>, OciError> {
    let listed = host.devices().iter().flatten();
    let listed = listed.filter(|device| !devices::every_container_has(device));
    listed.map(device).collect()
}

/// Containers use the guest's own network, cgroup and time namespaces. The agent adds the pid
/// namespace itself.
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

fn id_mappings(mappings: &Option<Vec<host::LinuxIdMapping>>) -> Vec<wire::LinuxIDMapping> {
    let mappings = mappings.iter().flatten();
    mappings
        .map(|mapping| wire::LinuxIDMapping {
            HostID: mapping.host_id(),
            ContainerID: mapping.container_id(),
            Size: mapping.size(),
            ..Default::default()
        })
        .collect()
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

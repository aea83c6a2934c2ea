//! Devices that a container is given by number, and the rules for them. A number names another disk in
//! the guest, so no block device goes along unless the disk itself does, and a rule only if it means the
//! same there.

use std::path::{Path, PathBuf};

use agent_client::oci as wire;
use oci_spec::runtime as host;

use super::{GuestSpec, HostBind};

/// A block device of the host.
#[derive(Debug, Clone, PartialEq)]
pub struct HostDevice {
    /// Path in the container.
    pub path: PathBuf,
    /// Major device number on the host.
    pub major: u64,
    /// Minor device number on the host.
    pub minor: u64,
    /// Whether the container may only read it.
    pub read_only: bool,
    node: wire::LinuxDevice,
}

/// Every number, in a rule.
const ANY: i64 = -1;

/// The devices that every container has (OCI runtime specification, "Default Devices"), with their
/// numbers (Linux, Documentation/admin-guide/devices.txt).
const DEFAULT: [(&str, i64, i64); 6] = [
    ("/dev/null", 1, 3),
    ("/dev/zero", 1, 5),
    ("/dev/full", 1, 7),
    ("/dev/random", 1, 8),
    ("/dev/urandom", 1, 9),
    ("/dev/tty", 5, 0),
];

/// Rules that say the same in the guest: those for all devices of a kind, and those for character devices
/// whose numbers Linux has fixed. The rule for a block device goes along with its disk.
pub(super) fn rules(resources: &host::LinuxResources) -> Vec<wire::LinuxDeviceCgroup> {
    let rules = resources.devices().iter().flatten();
    rules
        .filter(|rule| means_the_same(rule))
        .map(wired)
        .collect()
}

/// Whether there are rules that [`rules`] leaves out, beside those for block devices.
pub(super) fn has_own_numbers(resources: &host::LinuxResources) -> bool {
    let mut rules = resources.devices().iter().flatten();
    rules.any(|rule| rule.typ() == Some(host::LinuxDeviceType::C) && !means_the_same(rule))
}

fn means_the_same(rule: &host::LinuxDeviceCgroup) -> bool {
    let any = |number: Option<i64>| number.is_none_or(|number| number < 0);
    match rule.typ().unwrap_or_default() {
        host::LinuxDeviceType::A => true,
        host::LinuxDeviceType::B => any(rule.major()) && any(rule.minor()),
        _ if any(rule.major()) => any(rule.minor()),
        // Documentation/admin-guide/devices.txt: memory, terminals, pseudo-terminals. Of the miscellaneous
        // devices the kernel gives the lower half away as they come.
        _ => match rule.major().unwrap_or_default() {
            1 | 5 | 136..=143 => true,
            10 => {
                any(rule.minor())
                    || rule
                        .minor()
                        .is_some_and(|minor| (128..255).contains(&minor))
            }
            _ => false,
        },
    }
}

fn wired(rule: &host::LinuxDeviceCgroup) -> wire::LinuxDeviceCgroup {
    wire::LinuxDeviceCgroup {
        Allow: rule.allow(),
        Type: rule.typ().unwrap_or_default().as_str().to_owned(),
        Major: rule.major().unwrap_or(ANY),
        Minor: rule.minor().unwrap_or(ANY),
        Access: rule.access().clone().unwrap_or_default(),
        ..Default::default()
    }
}

/// Whether an agent makes this device without being told. The stock agent fails when it is told
/// nevertheless, as by the specification of a privileged container.
pub(super) fn every_container_has(device: &host::LinuxDevice) -> bool {
    device.typ() == host::LinuxDeviceType::C
        && DEFAULT.iter().any(|(path, major, minor)| {
            device.path() == Path::new(path) && (device.major(), device.minor()) == (*major, *minor)
        })
}

/// Takes the block devices out of `devices`, and returns those that were given to the container one
/// by one. Whoever gets all devices of its host, as privileged containers do, has those of the guest.
pub(super) fn take(linux: &host::Linux, devices: &mut Vec<wire::LinuxDevice>) -> Vec<HostDevice> {
    let rules = linux
        .resources()
        .as_ref()
        .and_then(|r| r.devices().as_ref());
    let rules: &[host::LinuxDeviceCgroup] = rules.map(Vec::as_slice).unwrap_or_default();
    let all = rules.iter().any(allows_all);
    let nodes: Vec<_> = devices
        .extract_if(.., |device| device.Type == "b")
        .collect();
    if all {
        return Vec::new();
    }
    nodes
        .into_iter()
        .map(|node| HostDevice {
            path: PathBuf::from(&node.Path),
            major: node.Major.unsigned_abs(),
            minor: node.Minor.unsigned_abs(),
            read_only: !rules.iter().any(|rule| allows_writing(rule, &node)),
            node,
        })
        .collect()
}

fn allows_all(rule: &host::LinuxDeviceCgroup) -> bool {
    rule.allow()
        && rule.major().is_none_or(|number| number < 0)
        && rule.minor().is_none_or(|number| number < 0)
        && rule
            .typ()
            .is_none_or(|kind| kind == host::LinuxDeviceType::A)
}

fn allows_writing(rule: &host::LinuxDeviceCgroup, node: &wire::LinuxDevice) -> bool {
    let same = |rule: Option<i64>, number| rule.is_none_or(|one| one < 0 || one == number);
    rule.allow()
        && rule
            .typ()
            .is_none_or(|kind| kind != host::LinuxDeviceType::C)
        && same(rule.major(), node.Major)
        && same(rule.minor(), node.Minor)
        && rule
            .access()
            .as_ref()
            .is_some_and(|access| access.contains('w'))
}

impl GuestSpec {
    /// The block devices that were given to the container one by one. They are not in the guest's
    /// specification until they are given back.
    pub fn take_block_devices(&mut self) -> Vec<HostDevice> {
        std::mem::take(&mut self.devices)
    }

    /// Says that the disk behind `device` is in the guest. The agent puts its number there in, also in
    /// the rule.
    pub fn give_back(&mut self, device: &HostDevice) {
        let access = if device.read_only { "rm" } else { "rwm" };
        let rule = wire::LinuxDeviceCgroup {
            Allow: true,
            Type: "b".to_owned(),
            Major: device.node.Major,
            Minor: device.node.Minor,
            Access: access.to_owned(),
            ..Default::default()
        };
        let linux = self.linux();
        linux.Devices.push(device.node.clone());
        linux.Resources.mut_or_insert_default().Devices.push(rule);
    }

    /// Turns a bind mount of a block device into a device node of the container with these
    /// permission bits. The agent puts the number in.
    pub fn provide_as_device(&mut self, bind: &HostBind, mode: u32) {
        let Some(position) = self.binds.iter().position(|b| b.index == bind.index) else {
            return;
        };
        let bind = self.binds.remove(position);
        self.spec.Mounts.remove(bind.index);
        for later in &mut self.binds[position..] {
            later.index -= 1;
        }
        self.linux().Devices.push(wire::LinuxDevice {
            Path: bind.destination.to_string_lossy().into_owned(),
            Type: "b".to_owned(),
            FileMode: mode,
            ..Default::default()
        });
    }

    fn linux(&mut self) -> &mut wire::Linux {
        self.spec.Linux.mut_or_insert_default()
    }
}

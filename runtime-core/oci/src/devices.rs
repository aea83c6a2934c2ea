//! Devices that a container gets by number, and the rules for them. In the guest the same number is
//! another disk, so a block device is passed on only together with its disk. Character devices, and
//! rules for them, are passed on only if their number means the same everywhere.

use std::{
    ops::RangeInclusive,
    path::{Path, PathBuf},
};

use agent_client::oci as wire;
use oci_spec::runtime as host;

use super::OciError;

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
    pub(super) node: wire::LinuxDevice,
}

/// Stands for every number in a rule.
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

/// The largest minor number (Linux, include/linux/kdev_t.h).
const LAST: i64 = (1 << 20) - 1;

/// Character devices that are functions of the kernel and not hardware, whose numbers never change:
/// the major number, and the first and last minor number
/// (Linux, Documentation/admin-guide/devices.txt and include/linux/miscdevice.h).
const FIXED: [(i64, i64, i64); 11] = [
    // mem, null, port, zero, full, random, urandom, kmsg
    (1, 0, LAST),
    // tty, console, ptmx
    (5, 0, LAST),
    // hwrng
    (10, 183, 183),
    // net/tun
    (10, 200, 200),
    // cuse
    (10, 203, 203),
    // uinput
    (10, 223, 223),
    // fuse
    (10, 229, 229),
    // kvm
    (10, 232, 232),
    // btrfs-control, autofs, mapper/control, loop-control, vhost-net, uhid, userio, vhost-vsock
    (10, 234, 241),
    // ppp
    (108, 0, 0),
    // pts
    (136, 0, LAST),
];

/// Rules that mean the same in the guest: those for all devices of a kind, and those for character
/// devices with fixed numbers. The rule for a block device is added with its disk.
pub(super) fn rules(resources: &host::LinuxResources) -> Vec<wire::LinuxDeviceCgroup> {
    let rules = resources.devices().iter().flatten();
    rules
        .filter(|rule| means_the_same(rule))
        .map(to_wire)
        .collect()
}

/// Whether [`rules`] leaves out rules, apart from those for block devices.
pub(super) fn has_own_numbers(resources: &host::LinuxResources) -> bool {
    let mut rules = resources.devices().iter().flatten();
    rules.any(|rule| rule.typ() == Some(host::LinuxDeviceType::C) && !means_the_same(rule))
}

fn means_the_same(rule: &host::LinuxDeviceCgroup) -> bool {
    let given = |number: Option<i64>| number.filter(|number| *number >= 0);
    match (rule.typ().unwrap_or_default(), given(rule.major())) {
        (host::LinuxDeviceType::A, _) => true,
        (_, None) => given(rule.minor()).is_none(),
        (host::LinuxDeviceType::B, Some(_)) => false,
        (_, Some(major)) => {
            let minors = given(rule.minor()).map_or(0..=LAST, |minor| minor..=minor);
            are_fixed(major, minors)
        }
    }
}

fn to_wire(rule: &host::LinuxDeviceCgroup) -> wire::LinuxDeviceCgroup {
    wire::LinuxDeviceCgroup {
        Allow: rule.allow(),
        Type: rule.typ().unwrap_or_default().as_str().to_owned(),
        Major: rule.major().unwrap_or(ANY),
        Minor: rule.minor().unwrap_or(ANY),
        Access: rule.access().clone().unwrap_or_default(),
        ..Default::default()
    }
}

/// Removes the character devices whose numbers mean something only on the host.
///
/// # Errors
/// One of them was given to the container individually. A container that gets all devices of its
/// host has all those of the guest instead.
pub(super) fn keep_fixed(
    linux: &host::Linux,
    devices: &mut Vec<wire::LinuxDevice>,
) -> Result<(), OciError> {
    let all = given_rules(linux).iter().any(allows_all);
    if let Some(device) = devices.iter().find(|device| is_foreign(device) && !all) {
        return Err(OciError::Invalid {
            field: "linux.devices (a character device that is another one in a guest)",
            value: format!("{} (c {}:{})", device.Path, device.Major, device.Minor),
        });
    }
    devices.retain(|device| !is_foreign(device));
    Ok(())
}

fn is_foreign(device: &wire::LinuxDevice) -> bool {
    matches!(device.Type.as_str(), "c" | "u")
        && !are_fixed(device.Major, device.Minor..=device.Minor)
}

/// Whether all these devices mean the same everywhere.
fn are_fixed(major: i64, minors: RangeInclusive<i64>) -> bool {
    FIXED.iter().any(|(fixed, first, last)| {
        major == *fixed && first <= minors.start() && minors.end() <= last
    })
}

fn given_rules(linux: &host::Linux) -> &[host::LinuxDeviceCgroup] {
    let resources = linux.resources().as_ref();
    let rules = resources.and_then(|resources| resources.devices().as_ref());
    rules.map(Vec::as_slice).unwrap_or_default()
}

/// Whether an agent makes this device by itself. The stock agent fails if it is listed
/// nevertheless, as in the specification of a privileged container.
pub(super) fn every_container_has(device: &host::LinuxDevice) -> bool {
    device.typ() == host::LinuxDeviceType::C
        && DEFAULT.iter().any(|(path, major, minor)| {
            device.path() == Path::new(path) && (device.major(), device.minor()) == (*major, *minor)
        })
}

/// Removes the block devices from `devices`, and returns those that were given to the container
/// individually. A container that gets all devices of its host, as privileged ones do, has all
/// those of the guest instead.
pub(super) fn take_block_devices(
    linux: &host::Linux,
    devices: &mut Vec<wire::LinuxDevice>,
) -> Vec<HostDevice> {
    let rules = given_rules(linux);
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

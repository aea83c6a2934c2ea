//! Devices that a container is given by number. A number names another disk in the guest, so no block device
//! goes along unless the disk itself does; and no character device but those whose number means the same
//! everywhere.

use std::path::{Path, PathBuf};

use agent_client::oci as wire;
use oci_spec::runtime as host;

use super::{GuestSpec, HostBind, OciError};

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

/// Character devices that are functions of the kernel and no hardware, with numbers that never change
/// (Linux, Documentation/admin-guide/devices.txt and include/linux/miscdevice.h): the major number, and the
/// minor ones from the first to the last.
const FIXED: [(i64, i64, i64); 11] = [
    // mem, null, port, zero, full, random, urandom, kmsg
    (1, 1, 11),
    // tty, console, ptmx
    (5, 0, 2),
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
    (136, 0, 255),
];

/// Takes out the character devices whose numbers are the host's alone.
///
/// # Errors
/// One of them was given to the container by itself. Whoever gets all devices of its host has those of the
/// guest instead.
pub(super) fn keep_fixed(
    linux: &host::Linux,
    devices: &mut Vec<wire::LinuxDevice>,
) -> Result<(), OciError> {
    let all = rules_of(linux).iter().any(allows_all);
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
    let fixed = |(major, first, last): &(i64, i64, i64)| {
        device.Major == *major && (*first..=*last).contains(&device.Minor)
    };
    matches!(device.Type.as_str(), "c" | "u") && !FIXED.iter().any(fixed)
}

fn rules_of(linux: &host::Linux) -> &[host::LinuxDeviceCgroup] {
    let resources = linux.resources().as_ref();
    let rules = resources.and_then(|resources| resources.devices().as_ref());
    rules.map(Vec::as_slice).unwrap_or_default()
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
    let rules = rules_of(linux);
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

    /// Says that the disk behind `device` is in the guest. The agent puts its number there in.
    pub fn give_back(&mut self, device: &HostDevice) {
        self.linux().Devices.push(device.node.clone());
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

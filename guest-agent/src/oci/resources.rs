//! Resource limits.

use agent_client::oci::{
    LinuxBlockIO, LinuxCPU, LinuxMemory, LinuxResources, LinuxThrottleDevice, LinuxWeightDevice,
};
use serde_json::{Value, json};

use super::Members;

/// The member `resources` of the configuration.
///
/// Device rules are left out: the agent enforces them itself (ADR 0021).
pub fn resources(resources: &LinuxResources) -> Value {
    let mut members = Members::default();
    if let Some(limits) = resources.Memory.as_ref() {
        members.add("memory", memory(limits));
    }
    if let Some(limits) = resources.CPU.as_ref() {
        members.add("cpu", cpu(limits));
    }
    if let Some(limits) = resources.Pids.as_ref().filter(|limits| limits.Limit != 0) {
        members.add("pids", json!({"limit": limits.Limit}));
    }
    if let Some(limits) = resources.BlockIO.as_ref() {
        members.add("blockIO", block_io(limits));
    }
    let huge: Vec<Value> = resources
        .HugepageLimits
        .iter()
        .map(|one| json!({"pageSize": one.Pagesize, "limit": one.Limit}))
        .collect();
    if !huge.is_empty() {
        members.add("hugepageLimits", huge);
    }
    members.finish()
}

/// Kernel memory, swappiness and the OOM killer cannot be set for a cgroup of version 2.
fn memory(limits: &LinuxMemory) -> Value {
    let mut members = Members::default();
    members.add_if_set("limit", &limits.Limit);
    members.add_if_set("reservation", &limits.Reservation);
    members.add_if_set("swap", &limits.Swap);
    members.finish()
}

/// Cgroups of version 2 have no real-time limits.
fn cpu(limits: &LinuxCPU) -> Value {
    let mut members = Members::default();
    members.add_if_set("shares", &limits.Shares);
    members.add_if_set("quota", &limits.Quota);
    members.add_if_set("period", &limits.Period);
    members.add_if_set("cpus", &limits.Cpus);
    members.add_if_set("mems", &limits.Mems);
    members.finish()
}

fn block_io(limits: &LinuxBlockIO) -> Value {
    let mut members = Members::default();
    members.add_if_set("weight", &limits.Weight);
    members.add(
        "weightDevice",
        limits.WeightDevice.iter().map(weight).collect::<Vec<_>>(),
    );
    for (name, devices) in [
        ("throttleReadBpsDevice", &limits.ThrottleReadBpsDevice),
        ("throttleWriteBpsDevice", &limits.ThrottleWriteBpsDevice),
        ("throttleReadIOPSDevice", &limits.ThrottleReadIOPSDevice),
        ("throttleWriteIOPSDevice", &limits.ThrottleWriteIOPSDevice),
    ] {
        members.add(name, devices.iter().map(throttle).collect::<Vec<_>>());
    }
    members.finish()
}

fn weight(device: &LinuxWeightDevice) -> Value {
    json!({"major": device.Major, "minor": device.Minor, "weight": device.Weight})
}

fn throttle(device: &LinuxThrottleDevice) -> Value {
    json!({"major": device.Major, "minor": device.Minor, "rate": device.Rate})
}

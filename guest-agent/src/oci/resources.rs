//! Limits.

use agent_client::oci::{
    LinuxBlockIO, LinuxCPU, LinuxMemory, LinuxResources, LinuxThrottleDevice, LinuxWeightDevice,
};
use serde_json::{Value, json};

use super::Members;

/// The runtime's form of `resources`.
///
/// Rules for devices are left out: the agent enforces them itself (ADR 0021).
pub fn resources(resources: &LinuxResources) -> Value {
    let mut members = Members::default();
    if let Some(limits) = resources.Memory.as_ref() {
        members.always("memory", memory(limits));
    }
    if let Some(limits) = resources.CPU.as_ref() {
        members.always("cpu", cpu(limits));
    }
    if let Some(limits) = resources.Pids.as_ref().filter(|limits| limits.Limit != 0) {
        members.always("pids", json!({"limit": limits.Limit}));
    }
    if let Some(limits) = resources.BlockIO.as_ref() {
        members.always("blockIO", block_io(limits));
    }
    let huge: Vec<Value> = resources
        .HugepageLimits
        .iter()
        .map(|one| json!({"pageSize": one.Pagesize, "limit": one.Limit}))
        .collect();
    if !huge.is_empty() {
        members.always("hugepageLimits", huge);
    }
    members.finish()
}

/// Kernel memory, swappiness and the OOM killer cannot be set per group in cgroup v2.
fn memory(limits: &LinuxMemory) -> Value {
    let mut members = Members::default();
    members.given("limit", &limits.Limit);
    members.given("reservation", &limits.Reservation);
    members.given("swap", &limits.Swap);
    members.finish()
}

/// Real-time limits do not exist in cgroup v2.
fn cpu(limits: &LinuxCPU) -> Value {
    let mut members = Members::default();
    members.given("shares", &limits.Shares);
    members.given("quota", &limits.Quota);
    members.given("period", &limits.Period);
    members.given("cpus", &limits.Cpus);
    members.given("mems", &limits.Mems);
    members.finish()
}

fn block_io(limits: &LinuxBlockIO) -> Value {
    let mut members = Members::default();
    members.given("weight", &limits.Weight);
    members.always(
        "weightDevice",
        limits.WeightDevice.iter().map(weight).collect::<Vec<_>>(),
    );
    for (name, devices) in [
        ("throttleReadBpsDevice", &limits.ThrottleReadBpsDevice),
        ("throttleWriteBpsDevice", &limits.ThrottleWriteBpsDevice),
        ("throttleReadIOPSDevice", &limits.ThrottleReadIOPSDevice),
        ("throttleWriteIOPSDevice", &limits.ThrottleWriteIOPSDevice),
    ] {
        members.always(name, devices.iter().map(throttle).collect::<Vec<_>>());
    }
    members.finish()
}

fn weight(device: &LinuxWeightDevice) -> Value {
    json!({"major": device.Major, "minor": device.Minor, "weight": device.Weight})
}

fn throttle(device: &LinuxThrottleDevice) -> Value {
    json!({"major": device.Major, "minor": device.Minor, "rate": device.Rate})
}

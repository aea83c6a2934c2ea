//! What a QEMU binary says of itself when it is asked over QMP.

use std::path::Path;

use serde::{Deserialize, Serialize};

use super::super::{
    command_line::BRIDGE,
    disk_slots,
    launch::Vmm,
    qmp::{
        Version,
        command::{MachineInfo, QomListTypes, QueryMachines, QueryMigrateCapabilities},
    },
};
use crate::Result;

/// What a QEMU binary has.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Facts {
    pub version: Version,
    /// Its machine types, aliases among them.
    pub machines: Vec<String>,
    /// Those of its machine types that take hot-plugged vCPUs.
    pub cpu_hotplug: Vec<String>,
    /// Whether it has the devices by which memory is hot-plugged.
    pub dimms: bool,
    /// Names of its migration capabilities, as `x-ignore-shared`.
    pub migration: Vec<String>,
    /// Whether it can exchange what is behind a disk.
    pub disk_slots: bool,
    /// Whether it has the bridges that have room for many devices.
    pub bridges: bool,
}

/// A machine without a processor: the binary is asked, nothing is run.
const ARGUMENTS: [&str; 10] = [
    "-machine",
    "none",
    "-nodefaults",
    "-no-user-config",
    "-nographic",
    "-S",
    "-chardev",
    "socket,id=qmp,fd=0",
    "-mon",
    "chardev=qmp,mode=control",
];

/// Starts `binary` without a guest and asks.
pub async fn ask(binary: &Path, log: &slog::Logger) -> Result<Facts> {
    let arguments = ARGUMENTS.map(String::from);
    let (vmm, version) = Vmm::start(binary, &arguments, None, Vec::new(), None, log).await?;
    let facts = facts(&vmm, version).await;
    vmm.process().kill().await?;
    facts
}

async fn facts(vmm: &Vmm, version: Version) -> Result<Facts> {
    let machines = vmm.execute(&QueryMachines {}).await?;
    let names = |takes: fn(&MachineInfo) -> bool| {
        let taken = machines.iter().filter(|machine| takes(machine));
        taken
            .flat_map(|machine| [Some(machine.name.clone()), machine.alias.clone()])
            .flatten()
            .collect()
    };
    let (all, cpu_hotplug) = (names(|_| true), names(|machine| machine.hotpluggable_cpus));
    let migration = vmm.execute(&QueryMigrateCapabilities {}).await?;
    let migration = migration
        .into_iter()
        .map(|known| known.capability)
        .collect();
    Ok(Facts {
        version,
        machines: all,
        cpu_hotplug,
        dimms: has_device(vmm, "pc-dimm").await?,
        migration,
        disk_slots: disk_slots::possible(vmm).await,
        bridges: has_device(vmm, BRIDGE).await?,
    })
}

async fn has_device(vmm: &Vmm, device: &str) -> Result<bool> {
    let types = vmm.execute(&QomListTypes { implements: device }).await?;
    Ok(types.iter().any(|kind| kind.name == device))
}

//! What a QEMU binary says of itself when it is asked over QMP.

use std::path::Path;

use serde::{Deserialize, Serialize};

use super::super::{
    launch::Monitor,
    qmp::{
        Version,
        command::{QomListTypes, QueryMachines, QueryMigrateCapabilities},
    },
};
use crate::Result;

/// What a QEMU binary has.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Facts {
    /// Its version.
    pub version: Version,
    /// Its machine types, aliases among them.
    pub machines: Vec<String>,
    /// Those of its devices this crate can plug.
    pub devices: Vec<String>,
    /// Its migration capabilities.
    pub migration: Vec<String>,
}

const PLUGGABLE: [&str; 2] = ["virtio-blk-pci", "virtio-net-pci"];
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
    let (monitor, version) = Monitor::start(binary, &arguments, Vec::new(), log).await?;
    let facts = facts(&monitor, version).await;
    monitor.process().kill().await?;
    facts
}

async fn facts(monitor: &Monitor, version: Version) -> Result<Facts> {
    let machines = monitor.execute(&QueryMachines {}).await?;
    let machines = machines
        .into_iter()
        .flat_map(|m| [Some(m.name), m.alias])
        .flatten()
        .collect();
    let mut devices = Vec::new();
    for device in PLUGGABLE {
        let types = monitor
            .execute(&QomListTypes { implements: device })
            .await?;
        if types.iter().any(|kind| kind.name == device) {
            devices.push(device.to_owned());
        }
    }
    let migration = monitor.execute(&QueryMigrateCapabilities {}).await?;
    let migration = migration
        .into_iter()
        .map(|known| known.capability)
        .collect();
    Ok(Facts {
        version,
        machines,
        devices,
        migration,
    })
}

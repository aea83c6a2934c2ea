//! Commands that ask what a binary has.

use serde::{Deserialize, Serialize};

commands! {
    QueryMachines = "query-machines" -> Vec<MachineInfo>;
    QomListTypes<'a> = "qom-list-types" -> Vec<ObjectType>;
}

/// Asks for the machine types.
#[derive(Debug, Serialize)]
pub struct QueryMachines {}

/// A machine type that the binary has.
#[derive(Debug, Deserialize)]
pub struct MachineInfo {
    pub name: String,
    pub alias: Option<String>,
    /// Whether vCPUs can be hot-plugged.
    #[serde(rename = "hotpluggable-cpus", default)]
    pub hotpluggable_cpus: bool,
}

/// Asks for the types below one type.
#[derive(Debug, Serialize)]
pub struct QomListTypes<'a> {
    pub implements: &'a str,
}

/// A type of QEMU's object model.
#[derive(Debug, Deserialize)]
pub struct ObjectType {
    pub name: String,
}

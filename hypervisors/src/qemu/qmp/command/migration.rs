//! Commands that write a VM's state and read it.

use serde::{Deserialize, Serialize};

use super::Empty;

commands! {
    MigrateSetCapabilities = "migrate-set-capabilities" -> Empty;
    MigrateSetParameters = "migrate-set-parameters" -> Empty;
    Migrate<'a> = "migrate" -> Empty;
    MigrateIncoming<'a> = "migrate-incoming" -> Empty;
    MigrateCancel = "migrate_cancel" -> Empty;
    QueryMigrate = "query-migrate" -> MigrationInfo;
    QueryMigrateCapabilities = "query-migrate-capabilities" -> Vec<MigrationCapability>;
}

/// A migration capability, and whether it is on.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct MigrationCapability {
    pub capability: String,
    pub state: bool,
}

/// Turns migration capabilities on or off.
#[derive(Debug, Serialize)]
pub struct MigrateSetCapabilities {
    pub capabilities: Vec<MigrationCapability>,
}

/// Changes migration parameters, one of them.
#[derive(Debug, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum MigrateSetParameters {
    /// Limit of the speed in bytes per second.
    MaxBandwidth(u64),
    /// How often a VM that was loaded announces itself to its network, and to its guest.
    AnnounceRounds(u64),
}

/// Starts to write the VM's state; the `MIGRATION` event tells the end.
#[derive(Debug, Serialize)]
pub struct Migrate<'a> {
    pub uri: &'a str,
}

/// Starts to read a VM's state; the `MIGRATION` event tells the end.
#[derive(Debug, Serialize)]
pub struct MigrateIncoming<'a> {
    pub uri: &'a str,
}

/// Cancels an outgoing migration.
#[derive(Debug, Serialize)]
pub struct MigrateCancel {}

/// Asks how a migration stands.
#[derive(Debug, Serialize)]
pub struct QueryMigrate {}

/// How a migration stands.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct MigrationInfo {
    /// Absent when there was none.
    pub status: Option<String>,
    pub error_desc: Option<String>,
}

/// Asks for the migration capabilities.
#[derive(Debug, Serialize)]
pub struct QueryMigrateCapabilities {}

//! The commands this crate gives, with the timeout of each
//! (<https://www.qemu.org/docs/master/interop/qemu-qmp-ref.html>).

use std::time::Duration;

use serde::{Deserialize, Serialize, de::DeserializeOwned};

/// A command: its arguments are the value's own fields.
pub trait Command: Serialize + Sync {
    /// The command's name.
    const NAME: &'static str;
    /// How long QEMU may take to answer.
    const TIMEOUT: Duration = Duration::from_secs(10);
    /// The value of its answer.
    type Reply: DeserializeOwned;
}

/// An answer without content.
#[derive(Debug, Deserialize)]
pub struct Empty {}

macro_rules! commands {
    ($($type:ident $(<$life:lifetime>)? = $name:literal -> $reply:ty;)*) => {$(
        impl $(<$life>)? Command for $type $(<$life>)? {
            const NAME: &'static str = $name;
            type Reply = $reply;
        }
    )*};
}

commands! {
    QmpCapabilities = "qmp_capabilities" -> Empty;
    Stop = "stop" -> Empty;
    Cont = "cont" -> Empty;
    QueryStatus = "query-status" -> Status;
    QueryVmGenerationId = "query-vm-generation-id" -> VmGenerationId;
    GetFd<'a> = "getfd" -> Empty;
    CloseFd<'a> = "closefd" -> Empty;
    MigrateSetCapabilities = "migrate-set-capabilities" -> Empty;
    MigrateSetParameters = "migrate-set-parameters" -> Empty;
    Migrate<'a> = "migrate" -> Empty;
    MigrateIncoming<'a> = "migrate-incoming" -> Empty;
    MigrateCancel = "migrate_cancel" -> Empty;
    QueryMigrate = "query-migrate" -> MigrationInfo;
    QueryMigrateCapabilities = "query-migrate-capabilities" -> Vec<MigrationCapability>;
    QueryMachines = "query-machines" -> Vec<MachineInfo>;
    QomListTypes<'a> = "qom-list-types" -> Vec<ObjectType>;
    BlockdevAdd<'a> = "blockdev-add" -> Empty;
    BlockdevOpen<'a> = "blockdev-add" -> Empty;
    RawNode<'a> = "blockdev-add" -> Empty;
    BlockdevReopen<'a> = "blockdev-reopen" -> Empty;
    BlockdevDel<'a> = "blockdev-del" -> Empty;
    NetdevAdd<'a> = "netdev_add" -> Empty;
    NetdevDel<'a> = "netdev_del" -> Empty;
    DeviceAdd<'a> = "device_add" -> Empty;
    DeviceDel<'a> = "device_del" -> Empty;
}

/// Ends the negotiation.
#[derive(Debug, Serialize)]
pub struct QmpCapabilities {}

/// Stops the vCPUs.
#[derive(Debug, Serialize)]
pub struct Stop {}

/// Lets the vCPUs run.
#[derive(Debug, Serialize)]
pub struct Cont {}

/// Asks whether the vCPUs run.
#[derive(Debug, Serialize)]
pub struct QueryStatus {}

/// Whether the vCPUs run.
#[derive(Debug, Deserialize)]
pub struct Status {
    /// QEMU's name for the state.
    pub status: String,
    /// Whether it is one in which they run.
    pub running: bool,
}

/// Asks for the generation id.
#[derive(Debug, Serialize)]
pub struct QueryVmGenerationId {}

/// The generation id.
#[derive(Debug, Deserialize)]
pub struct VmGenerationId {
    /// As a UUID.
    pub guid: String,
}

/// Keeps the descriptor that travels along under a name.
#[derive(Debug, Serialize)]
pub struct GetFd<'a> {
    /// The name.
    #[serde(rename = "fdname")]
    pub name: &'a str,
}

/// Closes a descriptor that nothing has used.
#[derive(Debug, Serialize)]
pub struct CloseFd<'a> {
    /// Its name.
    #[serde(rename = "fdname")]
    pub name: &'a str,
}

/// One migration capability.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct MigrationCapability {
    /// Its name.
    pub capability: String,
    /// Whether it is on.
    pub state: bool,
}

/// Turns migration capabilities on or off.
#[derive(Debug, Serialize)]
pub struct MigrateSetCapabilities {
    /// The capabilities to change.
    pub capabilities: Vec<MigrationCapability>,
}

/// Changes migration parameters, one of them.
#[derive(Debug, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum MigrateSetParameters {
    /// Bytes per second.
    MaxBandwidth(u64),
    /// How often a VM that was loaded tells its network, and its guest, that it is there.
    AnnounceRounds(u64),
}

/// Starts to write the VM's state; the `MIGRATION` event tells the end.
#[derive(Debug, Serialize)]
pub struct Migrate<'a> {
    /// Where to.
    pub uri: &'a str,
}

/// Starts to read a VM's state; the `MIGRATION` event tells the end.
#[derive(Debug, Serialize)]
pub struct MigrateIncoming<'a> {
    /// Where from.
    pub uri: &'a str,
}

/// Gives an outgoing migration up.
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
    /// Why it failed.
    pub error_desc: Option<String>,
}

/// Asks for the migration capabilities.
#[derive(Debug, Serialize)]
pub struct QueryMigrateCapabilities {}

/// Asks for the machine types.
#[derive(Debug, Serialize)]
pub struct QueryMachines {}

/// A machine type.
#[derive(Debug, Deserialize)]
pub struct MachineInfo {
    /// Its name.
    pub name: String,
    /// Its other name.
    pub alias: Option<String>,
    /// Whether vCPUs can be plugged into it.
    #[serde(rename = "hotpluggable-cpus", default)]
    pub hotpluggable_cpus: bool,
}

/// Asks for the types below one type.
#[derive(Debug, Serialize)]
pub struct QomListTypes<'a> {
    /// The type.
    pub implements: &'a str,
}

/// A type of QEMU's object model.
#[derive(Debug, Deserialize)]
pub struct ObjectType {
    /// Its name.
    pub name: String,
}

/// Opens a disk's backing.
#[derive(Debug, Serialize)]
#[serde(rename_all = "kebab-case")]
pub struct BlockdevAdd<'a> {
    /// The format.
    pub driver: &'a str,
    /// The name of the format's node.
    pub node_name: &'a str,
    /// Whether writes are refused.
    pub read_only: bool,
    /// Whether a discard reaches the backing.
    pub discard: &'a str,
    /// Where the bytes are.
    pub file: BlockdevFile<'a>,
}

/// A file or a block device below a format.
#[derive(Debug, Serialize)]
#[serde(rename_all = "kebab-case")]
pub struct BlockdevFile<'a> {
    /// `file` or `host_device`.
    pub driver: &'a str,
    /// Its path.
    pub filename: &'a str,
    /// Whether writes are refused.
    pub read_only: bool,
    /// Whether the file is locked against other users.
    pub locking: &'a str,
}

/// Opens a file or an empty disk without a format.
#[derive(Debug, Serialize)]
#[serde(rename_all = "kebab-case")]
pub struct BlockdevOpen<'a> {
    /// The name of the node.
    pub node_name: &'a str,
    /// Whether writes are refused.
    pub read_only: bool,
    /// What it is.
    #[serde(flatten)]
    pub content: Content<'a>,
}

/// What a node without a format is.
#[derive(Debug, Serialize)]
#[serde(rename_all = "kebab-case", tag = "driver")]
pub enum Content<'a> {
    /// A regular file.
    File {
        /// Its path.
        filename: &'a str,
        /// Whether the file is locked against other users.
        locking: &'a str,
    },
    /// Nothing: all of it reads as zeroes.
    #[serde(rename = "null-co", rename_all = "kebab-case")]
    Nothing {
        /// Its size in bytes.
        size: u64,
        /// Whether it does.
        read_zeroes: bool,
    },
}

/// Changes nodes that are in use.
#[derive(Debug, Serialize)]
pub struct BlockdevReopen<'a> {
    /// All that the nodes are to be from now on.
    pub options: [RawNode<'a>; 1],
}

/// Opens or describes a read-only window on another node.
#[derive(Debug, Serialize)]
#[serde(rename_all = "kebab-case")]
pub struct RawNode<'a> {
    /// `raw`.
    pub driver: &'a str,
    /// Its name.
    pub node_name: &'a str,
    /// Whether writes are refused.
    pub read_only: bool,
    /// How many bytes of the other node it shows.
    pub size: u64,
    /// The name of the other node.
    pub file: &'a str,
}

/// Closes a disk's backing.
#[derive(Debug, Serialize)]
#[serde(rename_all = "kebab-case")]
pub struct BlockdevDel<'a> {
    /// The name of the format's node.
    pub node_name: &'a str,
}

/// Opens a network interface's backing.
#[derive(Debug, Serialize)]
pub struct NetdevAdd<'a> {
    /// The kind of backing.
    #[serde(rename = "type")]
    pub kind: &'a str,
    /// Its name.
    pub id: &'a str,
    /// The name of the tap's descriptor.
    pub fd: &'a str,
    /// Whether the host's kernel moves the packets.
    pub vhost: bool,
    /// The name of the descriptor of `/dev/vhost-net`.
    #[serde(rename = "vhostfd", skip_serializing_if = "Option::is_none")]
    pub vhost_fd: Option<&'a str>,
}

/// Closes a network interface's backing.
#[derive(Debug, Serialize)]
pub struct NetdevDel<'a> {
    /// Its name.
    pub id: &'a str,
}

/// Plugs a device.
#[derive(Debug, Serialize)]
pub struct DeviceAdd<'a> {
    /// The kind of device.
    pub driver: &'a str,
    /// Its name.
    pub id: &'a str,
    /// The bus it is plugged into.
    pub bus: &'a str,
    /// The slot on that bus.
    pub addr: &'a str,
    /// `on`: a virtio device of version 1 only, which takes no I/O ports. Behind a root port it is one
    /// anyway; behind a bridge there are I/O ports for few devices.
    #[serde(rename = "disable-legacy")]
    pub disable_legacy: &'a str,
    /// What the device does its work with.
    #[serde(flatten)]
    pub backing: Backing<'a>,
}

/// What a plugged device does its work with.
#[derive(Debug, Serialize)]
#[serde(untagged)]
pub enum Backing<'a> {
    /// A disk's.
    Disk {
        /// The name of the format's node.
        drive: &'a str,
    },
    /// A network interface's.
    Net {
        /// The name of the backing.
        netdev: &'a str,
        /// The guest's MAC address.
        mac: &'a str,
        /// The option ROM; empty for none.
        romfile: &'a str,
    },
}

/// Asks the guest to let go of a device; the `DEVICE_DELETED` event tells the end.
#[derive(Debug, Serialize)]
pub struct DeviceDel<'a> {
    /// Its name.
    pub id: &'a str,
}

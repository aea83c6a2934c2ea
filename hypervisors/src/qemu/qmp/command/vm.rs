//! Commands about the VM as a whole, and descriptors that are handed over.

use serde::{Deserialize, Serialize};

use super::Empty;

commands! {
    QmpCapabilities = "qmp_capabilities" -> Empty;
    Stop = "stop" -> Empty;
    Cont = "cont" -> Empty;
    QueryStatus = "query-status" -> Status;
    QueryVmGenerationId = "query-vm-generation-id" -> VmGenerationId;
    GetFd<'a> = "getfd" -> Empty;
    CloseFd<'a> = "closefd" -> Empty;
}

/// Ends the negotiation that a connection begins with.
#[derive(Debug, Serialize)]
pub struct QmpCapabilities {}

/// Stops the vCPUs; harmless where they are stopped.
#[derive(Debug, Serialize)]
pub struct Stop {}

/// Lets the vCPUs run; harmless where they do.
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
    pub running: bool,
}

/// Asks for the generation id.
#[derive(Debug, Serialize)]
pub struct QueryVmGenerationId {}

/// The answer to [`QueryVmGenerationId`].
#[derive(Debug, Deserialize)]
pub struct VmGenerationId {
    /// The generation id, as a UUID.
    pub guid: String,
}

/// Hands over a descriptor, which is sent beside the command, under a name.
#[derive(Debug, Serialize)]
pub struct GetFd<'a> {
    #[serde(rename = "fdname")]
    pub name: &'a str,
}

/// Closes a descriptor that nothing has used.
#[derive(Debug, Serialize)]
pub struct CloseFd<'a> {
    #[serde(rename = "fdname")]
    pub name: &'a str,
}

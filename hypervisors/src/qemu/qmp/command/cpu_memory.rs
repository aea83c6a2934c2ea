//! Commands about vCPUs and memory.

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::Empty;

commands! {
    QueryHotpluggableCpus = "query-hotpluggable-cpus" -> Vec<CpuPlace>;
    QueryCpusFast = "query-cpus-fast" -> Vec<Cpu>;
    QueryMemorySizeSummary = "query-memory-size-summary" -> MemorySummary;
    QueryMemoryDevices = "query-memory-devices" -> Vec<Value>;
    ObjectAdd<'a> = "object-add" -> Empty;
    ObjectDel<'a> = "object-del" -> Empty;
    AddCpu = "device_add" -> Empty;
    AddDimm<'a> = "device_add" -> Empty;
}

/// Asks for the places of vCPUs.
#[derive(Debug, Serialize)]
pub struct QueryHotpluggableCpus {}

/// Asks for the threads of vCPUs.
#[derive(Debug, Serialize)]
pub struct QueryCpusFast {}

/// Asks how much memory there is.
#[derive(Debug, Serialize)]
pub struct QueryMemorySizeSummary {}

/// Asks for the memory devices that were hot-plugged.
#[derive(Debug, Serialize)]
pub struct QueryMemoryDevices {}

/// A place for vCPUs, taken or free.
#[derive(Debug, Deserialize)]
pub struct CpuPlace {
    #[serde(rename = "type")]
    pub kind: String,
    #[serde(rename = "vcpus-count")]
    pub vcpus: u32,
    pub props: Map<String, Value>,
    /// Names the vCPU in it; absent if the place is free.
    #[serde(rename = "qom-path")]
    pub path: Option<String>,
}

/// A vCPU that runs.
#[derive(Debug, Deserialize)]
pub struct Cpu {
    /// The host's number of its thread.
    #[serde(rename = "thread-id")]
    pub thread_id: u32,
}

/// How much memory there is, in bytes: from the start, and hot-plugged.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct MemorySummary {
    pub base_memory: u64,
    #[serde(default)]
    pub plugged_memory: u64,
}

impl MemorySummary {
    /// All of it in MiB.
    pub fn mib(&self) -> u32 {
        let bytes = self.base_memory.saturating_add(self.plugged_memory);
        u32::try_from(bytes >> 20).unwrap_or(u32::MAX)
    }
}

/// Makes the memory of a memory device, of `size` bytes.
#[derive(Debug, Serialize)]
pub struct ObjectAdd<'a> {
    #[serde(rename = "qom-type")]
    pub kind: &'a str,
    pub id: &'a str,
    pub size: u64,
}

/// Gives that memory back.
#[derive(Debug, Serialize)]
pub struct ObjectDel<'a> {
    pub id: &'a str,
}

/// Hot-plugs a vCPU; the `ACPI_DEVICE_OST` event tells whether the guest has taken it.
#[derive(Debug, Serialize)]
pub struct AddCpu {
    pub driver: String,
    pub id: String,
    /// `socket-id` and the like, as QEMU gave them.
    #[serde(flatten)]
    pub place: Map<String, Value>,
}

/// Hot-plugs memory that was made by [`ObjectAdd`]; the event is that of [`AddCpu`].
#[derive(Debug, Serialize)]
pub struct AddDimm<'a> {
    pub driver: &'a str,
    pub id: &'a str,
    #[serde(rename = "memdev")]
    pub memory: &'a str,
}

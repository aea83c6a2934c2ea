//! What the agent says about itself and its guest.

use std::{fs, path::Path};

use agent_client::agent::{AgentDetails, GuestDetailsRequest, GuestDetailsResponse};

const MEMORY: &str = "/sys/devices/system/memory";

/// The device and storage drivers that [`crate::storage`] knows.
pub const STORAGE_DRIVERS: [&str; 5] = ["bind", "blk", "ephemeral", "local", "overlayfs"];

/// Answers `GetGuestDetails`.
pub fn details(request: &GuestDetailsRequest) -> GuestDetailsResponse {
    let memory = Path::new(MEMORY);
    GuestDetailsResponse {
        mem_block_size_bytes: if request.mem_block_size { memory_block_size(memory) } else { 0 },
        support_mem_hotplug_probe: request.mem_hotplug_probe && memory.join("probe").exists(),
        agent_details: Some(AgentDetails {
            version: env!("CARGO_PKG_VERSION").into(),
            init_daemon: std::process::id() == 1,
            device_handlers: vec!["blk".into()],
            storage_handlers: STORAGE_DRIVERS.map(String::from).to_vec(),
            supports_seccomp: true,
            ..Default::default()
        })
        .into(),
        ..Default::default()
    }
}

/// The unit in which memory comes and goes; 0 where the kernel cannot add memory.
fn memory_block_size(memory: &Path) -> u64 {
    fs::read_to_string(memory.join("block_size_bytes"))
        .ok()
        .and_then(|text| u64::from_str_radix(text.trim(), 16).ok())
        .unwrap_or(0)
}

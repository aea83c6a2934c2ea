//! Calls about the guest: clock, randomness, CPUs and memory, files, network.

use std::{fs, path::Path};

use agent_client::{FINDS_PRESENT_DEVICES, JOINS_PID_NAMESPACES, agent, csi, types};
use nix::sys::statvfs::statvfs;
use protobuf::well_known_types::empty::Empty;

use super::Service;
use crate::{
    clock, copy_file, entropy,
    error::{Doing, Result},
    hotplug, network, storage,
};

/// Where the kernel describes memory blocks.
const MEMORY: &str = "/sys/devices/system/memory";

impl Service {
    pub(super) async fn reseed_random_dev(
        &self,
        request: agent::ReseedRandomDevRequest,
    ) -> Result<Empty> {
        entropy::discard_prefetched();
        entropy::reseed(&request.data)?;
        if self.0.settings.init {
            entropy::renew_machine_id(Path::new("/etc/machine-id"))?;
            network::randomize_idle_macs()?;
        }
        Ok(Empty::new())
    }

    pub(super) async fn set_guest_date_time(
        &self,
        request: agent::SetGuestDateTimeRequest,
    ) -> Result<Empty> {
        clock::set(request.Sec, request.Usec)?;
        Ok(Empty::new())
    }

    pub(super) async fn get_guest_details(
        &self,
        request: agent::GuestDetailsRequest,
    ) -> Result<agent::GuestDetailsResponse> {
        let memory = Path::new(MEMORY);
        let block = if request.mem_block_size {
            memory_block_size(memory)
        } else {
            0
        };
        Ok(agent::GuestDetailsResponse {
            mem_block_size_bytes: block,
            support_mem_hotplug_probe: request.mem_hotplug_probe && memory.join("probe").exists(),
            agent_details: Some(agent::AgentDetails {
                version: env!("CARGO_PKG_VERSION").into(),
                init_daemon: self.0.settings.init,
                device_handlers: vec!["blk".into()],
                storage_handlers: storage::DRIVERS.map(String::from).to_vec(),
                supports_seccomp: true,
                extra_features: [FINDS_PRESENT_DEVICES, JOINS_PID_NAMESPACES]
                    .map(String::from)
                    .to_vec(),
                ..Default::default()
            })
            .into(),
            ..Default::default()
        })
    }

    pub(super) async fn online_cpu_mem(
        &self,
        request: agent::OnlineCPUMemRequest,
    ) -> Result<Empty> {
        let uevents = self.0.uevents.clone();
        if request.wait {
            hotplug::online(&uevents, request.nb_cpus, request.cpu_only).await?;
        } else {
            let log = self.0.log.clone();
            tokio::spawn(async move {
                if let Err(error) =
                    hotplug::online(&uevents, request.nb_cpus, request.cpu_only).await
                {
                    slog::warn!(log, "CPUs or memory not brought online"; "cause" => error.chain());
                }
            });
        }
        Ok(Empty::new())
    }

    pub(super) async fn copy_file(&self, request: agent::CopyFileRequest) -> Result<Empty> {
        copy_file::copy(&self.0.settings.root.join(copy_file::DIRECTORY), &request)?;
        Ok(Empty::new())
    }

    pub(super) async fn update_interface(
        &self,
        request: agent::UpdateInterfaceRequest,
    ) -> Result<types::Interface> {
        let wanted = request.interface.unwrap_or_default();
        let timeout = self.0.settings.hotplug_timeout;
        network::update_interface(&self.0.uevents, timeout, &wanted).await?;
        Ok(wanted)
    }

    pub(super) async fn update_routes(
        &self,
        request: agent::UpdateRoutesRequest,
    ) -> Result<agent::Routes> {
        network::add_routes(&request.routes.get_or_default().Routes).await?;
        self.list_routes(agent::ListRoutesRequest::new()).await
    }

    pub(super) async fn list_interfaces(
        &self,
        _: agent::ListInterfacesRequest,
    ) -> Result<agent::Interfaces> {
        Ok(agent::Interfaces {
            Interfaces: network::list_interfaces().await?,
            ..Default::default()
        })
    }

    pub(super) async fn list_routes(&self, _: agent::ListRoutesRequest) -> Result<agent::Routes> {
        Ok(agent::Routes {
            Routes: network::list_routes().await?,
            ..Default::default()
        })
    }

    pub(super) async fn add_arp_neighbors(
        &self,
        request: agent::AddARPNeighborsRequest,
    ) -> Result<Empty> {
        network::add_neighbours(&request.neighbors.get_or_default().ARPNeighbors).await?;
        Ok(Empty::new())
    }

    pub(super) async fn get_volume_stats(
        &self,
        request: agent::VolumeStatsRequest,
    ) -> Result<csi::VolumeStatsResponse> {
        let path = Path::new(&request.volume_guest_path);
        let found = statvfs(path).on("get the usage of", path)?;
        let unit = found.fragment_size();
        let usage = |available, total, free, unit: csi::volume_usage::Unit| csi::VolumeUsage {
            available,
            total,
            used: total.saturating_sub(free),
            unit: unit.into(),
            ..Default::default()
        };
        let bytes = usage(
            found.blocks_available() * unit,
            found.blocks() * unit,
            found.blocks_free() * unit,
            csi::volume_usage::Unit::BYTES,
        );
        let inodes = usage(
            found.files_available(),
            found.files(),
            found.files_free(),
            csi::volume_usage::Unit::INODES,
        );
        Ok(csi::VolumeStatsResponse {
            usage: vec![bytes, inodes],
            ..Default::default()
        })
    }
}

/// The size of a hot-plugged block of memory, in bytes; 0 when the kernel cannot add memory.
fn memory_block_size(memory: &Path) -> u64 {
    fs::read_to_string(memory.join("block_size_bytes"))
        .ok()
        .and_then(|text| u64::from_str_radix(text.trim(), 16).ok())
        .unwrap_or(0)
}

//! Metrics of the unified cgroup hierarchy.

use agent_client::agent::{BlkioStatsEntry, CgroupStats, CpuStats, MemoryStats, NetworkStats};
use containerd_shim_protos::cgroups_v2::metrics as v2;

use super::Keys;

pub(super) fn metrics(stats: CgroupStats, network: Vec<NetworkStats>) -> v2::Metrics {
    let pids = stats.pids_stats.unwrap_or_default();
    v2::Metrics {
        cpu: Some(cpu(stats.cpu_stats.unwrap_or_default())).into(),
        memory: Some(memory(stats.memory_stats.unwrap_or_default())).into(),
        pids: Some(v2::PidsStat {
            current: pids.current,
            limit: pids.limit,
            ..Default::default()
        })
        .into(),
        io: Some(v2::IOStat {
            usage: io(stats
                .blkio_stats
                .unwrap_or_default()
                .io_service_bytes_recursive),
            ..Default::default()
        })
        .into(),
        hugetlb: stats
            .hugetlb_stats
            .into_iter()
            .map(|(pagesize, usage)| v2::HugeTlbStat {
                current: usage.usage,
                max: usage.max_usage,
                failcnt: usage.failcnt,
                pagesize,
                ..Default::default()
            })
            .collect(),
        network: network.into_iter().map(interface).collect(),
        ..Default::default()
    }
}

fn cpu(cpu: CpuStats) -> v2::CPUStat {
    let usage = cpu.cpu_usage.unwrap_or_default();
    let throttling = cpu.throttling_data.unwrap_or_default();
    v2::CPUStat {
        // Nanoseconds in the agent's counters.
        usage_usec: usage.total_usage / 1000,
        user_usec: usage.usage_in_usermode / 1000,
        system_usec: usage.usage_in_kernelmode / 1000,
        nr_periods: throttling.periods,
        nr_throttled: throttling.throttled_periods,
        throttled_usec: throttling.throttled_time / 1000,
        ..Default::default()
    }
}

fn memory(memory: MemoryStats) -> v2::MemoryStat {
    let keys = Keys(&memory.stats);
    let usage = memory.usage.unwrap_or_default();
    let swap = memory.swap_usage.unwrap_or_default();
    v2::MemoryStat {
        // A guest with the older hierarchy has other names for the same things.
        anon: keys.any(&["anon", "total_rss", "rss"]),
        file: keys.any(&["file", "total_cache", "cache"]),
        kernel_stack: keys.any(&["kernel_stack"]),
        slab: keys.any(&["slab"]),
        sock: keys.any(&["sock"]),
        shmem: keys.any(&["shmem", "total_shmem"]),
        file_mapped: keys.any(&["file_mapped", "total_mapped_file"]),
        file_dirty: keys.any(&["file_dirty", "total_dirty"]),
        file_writeback: keys.any(&["file_writeback", "total_writeback"]),
        anon_thp: keys.any(&["anon_thp", "total_rss_huge"]),
        inactive_anon: keys.any(&["inactive_anon"]),
        active_anon: keys.any(&["active_anon"]),
        inactive_file: keys.any(&["inactive_file"]),
        active_file: keys.any(&["active_file"]),
        unevictable: keys.any(&["unevictable"]),
        slab_reclaimable: keys.any(&["slab_reclaimable"]),
        slab_unreclaimable: keys.any(&["slab_unreclaimable"]),
        pgfault: keys.any(&["pgfault"]),
        pgmajfault: keys.any(&["pgmajfault"]),
        usage: usage.usage,
        usage_limit: usage.limit,
        max_usage: usage.max_usage,
        swap_usage: swap.usage,
        swap_limit: swap.limit,
        swap_max_usage: swap.max_usage,
        ..Default::default()
    }
}

/// One line per device, where the agent has one per device and direction.
pub(super) fn io(entries: Vec<BlkioStatsEntry>) -> Vec<v2::IOEntry> {
    let mut devices: Vec<v2::IOEntry> = Vec::new();
    for entry in entries {
        let same =
            |device: &v2::IOEntry| (device.major, device.minor) == (entry.major, entry.minor);
        let index = devices.iter().position(same).unwrap_or_else(|| {
            devices.push(v2::IOEntry {
                major: entry.major,
                minor: entry.minor,
                ..Default::default()
            });
            devices.len() - 1
        });
        let Some(device) = devices.get_mut(index) else {
            continue;
        };
        match entry.op.to_ascii_lowercase().as_str() {
            "read" | "rbytes" => device.rbytes = entry.value,
            "write" | "wbytes" => device.wbytes = entry.value,
            "rios" => device.rios = entry.value,
            "wios" => device.wios = entry.value,
            _ => {}
        }
    }
    devices
}

fn interface(stats: NetworkStats) -> v2::NetworkStat {
    v2::NetworkStat {
        name: stats.name,
        rx_bytes: stats.rx_bytes,
        rx_packets: stats.rx_packets,
        rx_errors: stats.rx_errors,
        rx_dropped: stats.rx_dropped,
        tx_bytes: stats.tx_bytes,
        tx_packets: stats.tx_packets,
        tx_errors: stats.tx_errors,
        tx_dropped: stats.tx_dropped,
        ..Default::default()
    }
}

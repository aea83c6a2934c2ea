//! A container's counters as containerd's metrics, in the form of the host's cgroup version: that
//! is what node tools expect, whatever version the guest has.

use std::{collections::HashMap, path::Path};

use agent_client::agent::{
    BlkioStatsEntry, CgroupStats, MemoryStats, NetworkStats, StatsContainerResponse,
};
use containerd_shim_protos::{cgroups::metrics as v1, cgroups_v2::metrics as v2, protobuf::MessageDyn};

/// Whether the host has the unified hierarchy.
pub fn host_is_v2() -> bool {
    Path::new("/sys/fs/cgroup/cgroup.controllers").exists()
}

/// Converts counters into the metrics message of one version.
pub fn metrics(stats: StatsContainerResponse, unified: bool) -> Box<dyn MessageDyn> {
    let cgroup = stats.cgroup_stats.unwrap_or_default();
    if unified {
        Box::new(to_v2(cgroup, stats.network_stats))
    } else {
        Box::new(to_v1(cgroup, stats.network_stats))
    }
}

fn to_v1(stats: CgroupStats, network: Vec<NetworkStats>) -> v1::Metrics {
    let cpu = stats.cpu_stats.unwrap_or_default();
    let usage = cpu.cpu_usage.unwrap_or_default();
    let throttling = cpu.throttling_data.unwrap_or_default();
    let pids = stats.pids_stats.unwrap_or_default();
    let blkio = stats.blkio_stats.unwrap_or_default();
    v1::Metrics {
        cpu: Some(v1::CPUStat {
            usage: Some(v1::CPUUsage {
                total: usage.total_usage,
                kernel: usage.usage_in_kernelmode,
                user: usage.usage_in_usermode,
                per_cpu: usage.percpu_usage,
                ..Default::default()
            })
            .into(),
            throttling: Some(v1::Throttle {
                periods: throttling.periods,
                throttled_periods: throttling.throttled_periods,
                throttled_time: throttling.throttled_time,
                ..Default::default()
            })
            .into(),
            ..Default::default()
        })
        .into(),
        memory: Some(memory_v1(stats.memory_stats.unwrap_or_default())).into(),
        pids: Some(v1::PidsStat { current: pids.current, limit: pids.limit, ..Default::default() })
            .into(),
        blkio: Some(v1::BlkIOStat {
            io_service_bytes_recursive: entries_v1(blkio.io_service_bytes_recursive),
            io_serviced_recursive: entries_v1(blkio.io_serviced_recursive),
            io_queued_recursive: entries_v1(blkio.io_queued_recursive),
            io_service_time_recursive: entries_v1(blkio.io_service_time_recursive),
            io_wait_time_recursive: entries_v1(blkio.io_wait_time_recursive),
            io_merged_recursive: entries_v1(blkio.io_merged_recursive),
            io_time_recursive: entries_v1(blkio.io_time_recursive),
            sectors_recursive: entries_v1(blkio.sectors_recursive),
            ..Default::default()
        })
        .into(),
        hugetlb: stats
            .hugetlb_stats
            .into_iter()
            .map(|(pagesize, usage)| v1::HugetlbStat {
                usage: usage.usage,
                max: usage.max_usage,
                failcnt: usage.failcnt,
                pagesize,
                ..Default::default()
            })
            .collect(),
        network: network.into_iter().map(network_v1).collect(),
        ..Default::default()
    }
}

fn memory_v1(memory: MemoryStats) -> v1::MemoryStat {
    let keys = Keys(&memory.stats);
    let entry = |data: Option<agent_client::agent::MemoryData>| {
        let data = data.unwrap_or_default();
        Some(v1::MemoryEntry {
            limit: data.limit,
            usage: data.usage,
            max: data.max_usage,
            failcnt: data.failcnt,
            ..Default::default()
        })
        .into()
    };
    v1::MemoryStat {
        // A guest with the unified hierarchy has other names for the same things.
        cache: if memory.cache > 0 { memory.cache } else { keys.any(&["cache", "file"]) },
        rss: keys.any(&["rss", "anon"]),
        rss_huge: keys.any(&["rss_huge", "anon_thp"]),
        mapped_file: keys.any(&["mapped_file", "file_mapped"]),
        dirty: keys.any(&["dirty", "file_dirty"]),
        writeback: keys.any(&["writeback", "file_writeback"]),
        pg_pg_in: keys.any(&["pgpgin"]),
        pg_pg_out: keys.any(&["pgpgout"]),
        pg_fault: keys.any(&["pgfault"]),
        pg_maj_fault: keys.any(&["pgmajfault"]),
        inactive_anon: keys.any(&["inactive_anon"]),
        active_anon: keys.any(&["active_anon"]),
        inactive_file: keys.any(&["inactive_file"]),
        active_file: keys.any(&["active_file"]),
        unevictable: keys.any(&["unevictable"]),
        hierarchical_memory_limit: keys.any(&["hierarchical_memory_limit"]),
        hierarchical_swap_limit: keys.any(&["hierarchical_memsw_limit"]),
        total_cache: keys.any(&["total_cache", "file"]),
        total_rss: keys.any(&["total_rss", "anon"]),
        total_inactive_anon: keys.any(&["total_inactive_anon", "inactive_anon"]),
        total_active_anon: keys.any(&["total_active_anon", "active_anon"]),
        total_inactive_file: keys.any(&["total_inactive_file", "inactive_file"]),
        total_active_file: keys.any(&["total_active_file", "active_file"]),
        total_pg_fault: keys.any(&["total_pgfault", "pgfault"]),
        total_pg_maj_fault: keys.any(&["total_pgmajfault", "pgmajfault"]),
        usage: entry(memory.usage.into_option()),
        swap: entry(memory.swap_usage.into_option()),
        kernel: entry(memory.kernel_usage.into_option()),
        ..Default::default()
    }
}

fn entries_v1(entries: Vec<BlkioStatsEntry>) -> Vec<v1::BlkIOEntry> {
    let convert = |entry: BlkioStatsEntry| v1::BlkIOEntry {
        op: entry.op,
        major: entry.major,
        minor: entry.minor,
        value: entry.value,
        ..Default::default()
    };
    entries.into_iter().map(convert).collect()
}

fn network_v1(stats: NetworkStats) -> v1::NetworkStat {
    v1::NetworkStat {
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

fn to_v2(stats: CgroupStats, network: Vec<NetworkStats>) -> v2::Metrics {
    let cpu = stats.cpu_stats.unwrap_or_default();
    let usage = cpu.cpu_usage.unwrap_or_default();
    let throttling = cpu.throttling_data.unwrap_or_default();
    let pids = stats.pids_stats.unwrap_or_default();
    v2::Metrics {
        cpu: Some(v2::CPUStat {
            // Nanoseconds in the agent's counters.
            usage_usec: usage.total_usage / 1000,
            user_usec: usage.usage_in_usermode / 1000,
            system_usec: usage.usage_in_kernelmode / 1000,
            nr_periods: throttling.periods,
            nr_throttled: throttling.throttled_periods,
            throttled_usec: throttling.throttled_time / 1000,
            ..Default::default()
        })
        .into(),
        memory: Some(memory_v2(stats.memory_stats.unwrap_or_default())).into(),
        pids: Some(v2::PidsStat { current: pids.current, limit: pids.limit, ..Default::default() })
            .into(),
        io: Some(v2::IOStat {
            usage: io_v2(stats.blkio_stats.unwrap_or_default().io_service_bytes_recursive),
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
        network: network.into_iter().map(network_v2).collect(),
        ..Default::default()
    }
}

fn memory_v2(memory: MemoryStats) -> v2::MemoryStat {
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
fn io_v2(entries: Vec<BlkioStatsEntry>) -> Vec<v2::IOEntry> {
    let mut devices: Vec<v2::IOEntry> = Vec::new();
    for entry in entries {
        let same = |device: &v2::IOEntry| (device.major, device.minor) == (entry.major, entry.minor);
        let index = devices.iter().position(same).unwrap_or_else(|| {
            devices.push(v2::IOEntry {
                major: entry.major,
                minor: entry.minor,
                ..Default::default()
            });
            devices.len() - 1
        });
        let Some(device) = devices.get_mut(index) else { continue };
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

fn network_v2(stats: NetworkStats) -> v2::NetworkStat {
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

/// Counters by name.
struct Keys<'a>(&'a HashMap<String, u64>);

impl Keys<'_> {
    /// The first of these that is there.
    fn any(&self, names: &[&str]) -> u64 {
        names.iter().find_map(|name| self.0.get(*name)).copied().unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use agent_client::agent::{CpuStats, CpuUsage};

    fn sample() -> StatsContainerResponse {
        let usage = CpuUsage {
            total_usage: 9_000,
            usage_in_kernelmode: 3_000,
            usage_in_usermode: 6_000,
            ..Default::default()
        };
        let mut memory = MemoryStats::new();
        memory.stats.insert("anon".into(), 7);
        StatsContainerResponse {
            cgroup_stats: Some(CgroupStats {
                cpu_stats: Some(CpuStats { cpu_usage: Some(usage).into(), ..Default::default() }).into(),
                memory_stats: Some(memory).into(),
                ..Default::default()
            })
            .into(),
            ..Default::default()
        }
    }

    #[test]
    fn the_message_is_named_by_the_hosts_version() {
        let name = |unified| metrics(sample(), unified).descriptor_dyn().full_name().to_owned();
        assert_eq!(name(false), "io.containerd.cgroups.v1.Metrics");
        assert_eq!(name(true), "io.containerd.cgroups.v2.Metrics");
    }

    #[test]
    fn user_time_is_user_time() {
        let cgroup = sample().cgroup_stats.unwrap_or_default();
        let v2 = to_v2(cgroup.clone(), vec![]);
        assert_eq!((v2.cpu.usage_usec, v2.cpu.user_usec, v2.cpu.system_usec), (9, 6, 3));
        assert_eq!(v2.memory.anon, 7);
        assert_eq!(to_v1(cgroup, vec![]).memory.rss, 7);
    }

    #[test]
    fn reads_and_writes_of_a_device_are_one_entry() {
        let entry = |op: &str, value| BlkioStatsEntry {
            major: 254,
            op: op.into(),
            value,
            ..Default::default()
        };
        let io = io_v2(vec![entry("Read", 1), entry("Write", 2), entry("Total", 3)]);
        assert_eq!(io.len(), 1);
        assert_eq!((io[0].rbytes, io[0].wbytes), (1, 2));
    }
}

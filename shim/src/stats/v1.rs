//! Metrics of the first cgroup version.

use agent_client::agent::{
    BlkioStats, BlkioStatsEntry, CgroupStats, CpuStats, MemoryData, MemoryStats, NetworkStats,
};
use containerd_shim_protos::cgroups::metrics as v1;

use super::Keys;

pub(super) fn metrics(stats: CgroupStats, network: Vec<NetworkStats>) -> v1::Metrics {
    let pids = stats.pids_stats.unwrap_or_default();
    v1::Metrics {
        cpu: Some(cpu(stats.cpu_stats.unwrap_or_default())).into(),
        memory: Some(memory(stats.memory_stats.unwrap_or_default())).into(),
        pids: Some(v1::PidsStat {
            current: pids.current,
            limit: pids.limit,
            ..Default::default()
        })
        .into(),
        blkio: Some(blkio(stats.blkio_stats.unwrap_or_default())).into(),
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
        network: network.into_iter().map(interface).collect(),
        ..Default::default()
    }
}

fn cpu(cpu: CpuStats) -> v1::CPUStat {
    let usage = cpu.cpu_usage.unwrap_or_default();
    let throttling = cpu.throttling_data.unwrap_or_default();
    v1::CPUStat {
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
    }
}

fn blkio(blkio: BlkioStats) -> v1::BlkIOStat {
    v1::BlkIOStat {
        io_service_bytes_recursive: entries(blkio.io_service_bytes_recursive),
        io_serviced_recursive: entries(blkio.io_serviced_recursive),
        io_queued_recursive: entries(blkio.io_queued_recursive),
        io_service_time_recursive: entries(blkio.io_service_time_recursive),
        io_wait_time_recursive: entries(blkio.io_wait_time_recursive),
        io_merged_recursive: entries(blkio.io_merged_recursive),
        io_time_recursive: entries(blkio.io_time_recursive),
        sectors_recursive: entries(blkio.sectors_recursive),
        ..Default::default()
    }
}

fn memory(memory: MemoryStats) -> v1::MemoryStat {
    let keys = Keys(&memory.stats);
    let entry = |data: Option<MemoryData>| {
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
        cache: if memory.cache > 0 {
            memory.cache
        } else {
            keys.any(&["cache", "file"])
        },
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

fn entries(entries: Vec<BlkioStatsEntry>) -> Vec<v1::BlkIOEntry> {
    let convert = |entry: BlkioStatsEntry| v1::BlkIOEntry {
        op: entry.op,
        major: entry.major,
        minor: entry.minor,
        value: entry.value,
        ..Default::default()
    };
    entries.into_iter().map(convert).collect()
}

fn interface(stats: NetworkStats) -> v1::NetworkStat {
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

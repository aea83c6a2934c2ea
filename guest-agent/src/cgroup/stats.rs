//! What a cgroup has used, in the form of the API.

use std::{collections::HashMap, fs, path::Path};

use agent_client::agent::{
    BlkioStats, BlkioStatsEntry, CgroupStats, CpuStats, CpuUsage, MemoryData, MemoryStats,
    NetworkStats, PidsStats, ThrottlingData,
};

use super::Group;
use crate::error::{Doing, Result};

/// How many nanoseconds a microsecond has.
const MICROSECOND: u64 = 1000;

/// Reads a file of lines `key value`. Lines whose value is not a number are left out.
///
/// # Errors
///
/// When the file cannot be read.
pub fn read_keyed(path: &Path) -> Result<HashMap<String, u64>> {
    Ok(parse_keyed(&fs::read_to_string(path).on("read", path)?))
}

fn parse_keyed(text: &str) -> HashMap<String, u64> {
    text.lines()
        .filter_map(|line| {
            let (key, value) = line.split_once(' ')?;
            Some((key.to_owned(), value.trim().parse().ok()?))
        })
        .collect()
}

/// Reads a file with one number. `max` is `u64::MAX`; a file that does not exist, as on an older
/// kernel, is 0.
fn number(directory: &Path, file: &str) -> u64 {
    match fs::read_to_string(directory.join(file))
        .unwrap_or_default()
        .trim()
    {
        "max" => u64::MAX,
        text => text.parse().unwrap_or(0),
    }
}

/// The usage of CPU, memory, processes and disks by `group`.
///
/// # Errors
///
/// When the group does not exist.
pub fn statistics(group: &Group) -> Result<CgroupStats> {
    let directory = &group.directory;
    let io = fs::read_to_string(directory.join("io.stat")).unwrap_or_default();
    Ok(CgroupStats {
        cpu_stats: Some(cpu(&read_keyed(&directory.join("cpu.stat"))?)).into(),
        memory_stats: Some(memory(directory)).into(),
        pids_stats: Some(PidsStats {
            current: number(directory, "pids.current"),
            limit: match number(directory, "pids.max") {
                u64::MAX => 0,
                limit => limit,
            },
            ..Default::default()
        })
        .into(),
        blkio_stats: Some(block_io(&io)).into(),
        ..Default::default()
    })
}

fn cpu(counts: &HashMap<String, u64>) -> CpuStats {
    let get = |key: &str| counts.get(key).copied().unwrap_or(0);
    CpuStats {
        cpu_usage: Some(CpuUsage {
            total_usage: get("usage_usec") * MICROSECOND,
            usage_in_usermode: get("user_usec") * MICROSECOND,
            usage_in_kernelmode: get("system_usec") * MICROSECOND,
            ..Default::default()
        })
        .into(),
        throttling_data: Some(ThrottlingData {
            periods: get("nr_periods"),
            throttled_periods: get("nr_throttled"),
            throttled_time: get("throttled_usec") * MICROSECOND,
            ..Default::default()
        })
        .into(),
        ..Default::default()
    }
}

fn memory(directory: &Path) -> MemoryStats {
    let detail = read_keyed(&directory.join("memory.stat")).unwrap_or_default();
    let events = read_keyed(&directory.join("memory.events")).unwrap_or_default();
    let get = |key: &str| detail.get(key).copied().unwrap_or(0);
    let usage = MemoryData {
        usage: number(directory, "memory.current"),
        max_usage: number(directory, "memory.peak"),
        failcnt: events.get("max").copied().unwrap_or(0),
        limit: number(directory, "memory.max"),
        ..Default::default()
    };
    let swap = MemoryData {
        usage: number(directory, "memory.swap.current"),
        limit: number(directory, "memory.swap.max"),
        ..Default::default()
    };
    let kernel = MemoryData {
        usage: get("kernel"),
        ..Default::default()
    };
    MemoryStats {
        cache: get("file"),
        usage: Some(usage).into(),
        swap_usage: Some(swap).into(),
        kernel_usage: Some(kernel).into(),
        use_hierarchy: true,
        stats: detail,
        ..Default::default()
    }
}

/// `io.stat` has a line per device: `8:0 rbytes=1 wbytes=2 rios=3 wios=4 …`.
fn block_io(text: &str) -> BlkioStats {
    let mut stats = BlkioStats::new();
    for line in text.lines() {
        let mut words = line.split_whitespace();
        let Some((major, minor)) = words.next().and_then(|device| device.split_once(':')) else {
            continue;
        };
        let (Ok(major), Ok(minor)) = (major.parse(), minor.parse()) else {
            continue;
        };
        for (key, value) in words.filter_map(|word| word.split_once('=')) {
            let (list, op) = match key {
                "rbytes" => (&mut stats.io_service_bytes_recursive, "Read"),
                "wbytes" => (&mut stats.io_service_bytes_recursive, "Write"),
                "rios" => (&mut stats.io_serviced_recursive, "Read"),
                "wios" => (&mut stats.io_serviced_recursive, "Write"),
                _ => continue,
            };
            list.push(BlkioStatsEntry {
                major,
                minor,
                op: op.into(),
                value: value.parse().unwrap_or(0),
                ..Default::default()
            });
        }
    }
    stats
}

/// The counters of the guest's network interfaces except for the loopback, from the text of
/// `/proc/net/dev`.
pub fn network(text: &str) -> Vec<NetworkStats> {
    text.lines()
        .filter_map(interface)
        .filter(|interface| interface.name != "lo")
        .collect()
}

/// One line: the name, eight counters of what was received, eight of what was sent.
fn interface(line: &str) -> Option<NetworkStats> {
    let (name, counts) = line.split_once(':')?;
    let counts = counts.split_whitespace();
    let counts: Vec<u64> = counts.map_while(|count| count.parse().ok()).collect();
    let (received, sent) = counts.split_at_checked(8)?;
    let (
        &[rx_bytes, rx_packets, rx_errors, rx_dropped, ..],
        &[tx_bytes, tx_packets, tx_errors, tx_dropped, ..],
    ) = (received, sent)
    else {
        return None;
    };
    Some(NetworkStats {
        name: name.trim().to_owned(),
        rx_bytes,
        rx_packets,
        rx_errors,
        rx_dropped,
        tx_bytes,
        tx_packets,
        tx_errors,
        tx_dropped,
        ..Default::default()
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn block_io_has_a_line_for_each_device() {
        let stats =
            block_io("254:0 rbytes=4096 wbytes=1 rios=2 wios=3 dbytes=0 dios=0\nnonsense\n");
        assert_eq!(stats.io_service_bytes_recursive.len(), 2);
        assert_eq!(stats.io_service_bytes_recursive[0].value, 4096);
        assert_eq!(stats.io_serviced_recursive[1].op, "Write");
    }

    #[test]
    fn interfaces_are_counted_without_the_loopback() {
        let text = "Inter-|   Receive                  |  Transmit\n \
            face |bytes packets errs\n    lo: 1 1 0 0 0 0 0 0 1 1 0 0 0 0 0 0\n  \
            eth0: 10 2 3 4 0 0 0 0 50 6 7 8 0 0 0 0\n";
        let found = network(text);
        assert_eq!(found.len(), 1);
        assert_eq!(
            (
                found[0].name.as_str(),
                found[0].rx_bytes,
                found[0].tx_dropped
            ),
            ("eth0", 10, 8)
        );
    }
}

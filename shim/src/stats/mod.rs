//! A container's counters as containerd's metrics, in the form of the host's cgroup version: that
//! is what node tools expect, whatever version the guest has.

mod v1;
mod v2;

use std::{collections::HashMap, path::Path};

use agent_client::agent::StatsContainerResponse;
use containerd_shim_protos::protobuf::MessageDyn;

/// Whether the host has the unified hierarchy.
pub fn host_is_v2() -> bool {
    Path::new("/sys/fs/cgroup/cgroup.controllers").exists()
}

/// Converts counters into the metrics message of one version.
pub fn metrics(stats: StatsContainerResponse, unified: bool) -> Box<dyn MessageDyn> {
    let cgroup = stats.cgroup_stats.unwrap_or_default();
    if unified {
        Box::new(v2::metrics(cgroup, stats.network_stats))
    } else {
        Box::new(v1::metrics(cgroup, stats.network_stats))
    }
}

/// A guest's memory counters, by the names of its cgroup version.
struct Keys<'a>(&'a HashMap<String, u64>);

impl Keys<'_> {
    /// The first of these that is there.
    fn any(&self, names: &[&str]) -> u64 {
        names
            .iter()
            .find_map(|name| self.0.get(*name))
            .copied()
            .unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use agent_client::agent::{BlkioStatsEntry, CgroupStats, CpuStats, CpuUsage, MemoryStats};

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
                cpu_stats: Some(CpuStats {
                    cpu_usage: Some(usage).into(),
                    ..Default::default()
                })
                .into(),
                memory_stats: Some(memory).into(),
                ..Default::default()
            })
            .into(),
            ..Default::default()
        }
    }

    #[test]
    fn the_message_is_named_by_the_hosts_version() {
        let name = |unified| {
            metrics(sample(), unified)
                .descriptor_dyn()
                .full_name()
                .to_owned()
        };
        assert_eq!(name(false), "io.containerd.cgroups.v1.Metrics");
        assert_eq!(name(true), "io.containerd.cgroups.v2.Metrics");
    }

    #[test]
    fn user_time_is_user_time() {
        let cgroup = sample().cgroup_stats.unwrap_or_default();
        let unified = v2::metrics(cgroup.clone(), vec![]);
        assert_eq!(
            (
                unified.cpu.usage_usec,
                unified.cpu.user_usec,
                unified.cpu.system_usec
            ),
            (9, 6, 3)
        );
        assert_eq!(unified.memory.anon, 7);
        assert_eq!(v1::metrics(cgroup, vec![]).memory.rss, 7);
    }

    #[test]
    fn reads_and_writes_of_a_device_are_one_entry() {
        let entry = |op: &str, value| BlkioStatsEntry {
            major: 254,
            op: op.into(),
            value,
            ..Default::default()
        };
        let io = v2::io(vec![entry("Read", 1), entry("Write", 2), entry("Total", 3)]);
        assert_eq!(io.len(), 1);
        assert_eq!((io[0].rbytes, io[0].wbytes), (1, 2));
    }
}

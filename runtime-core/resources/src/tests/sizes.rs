//! Tables: what is asked for, and the VM it gives.

use std::collections::HashMap;

use config::Sizing;
use hypervisors::VmSize;
use oci_spec::runtime::LinuxResources;

use super::super::{Demand, PodSize, oom_score};

/// Annotations, and the thousandths of a CPU and the bytes they ask for.
type Row<'a> = (&'a [(&'a str, &'a str)], u64, u64);

const GIB: u64 = 1 << 30;
const MIB: u64 = 1 << 20;

fn annotations(list: &[(&str, &str)]) -> HashMap<String, String> {
    let name = |key: &str| format!("io.kubernetes.cri.sandbox-{key}");
    list.iter()
        .map(|(key, value)| (name(key), (*value).to_owned()))
        .collect()
}

fn limits(quota: i64, period: u64, memory: i64) -> LinuxResources {
    let limits = serde_json::json!({
        "cpu": {"quota": quota, "period": period, "shares": 4096},
        "memory": {"limit": memory},
    });
    serde_json::from_value(limits).unwrap()
}

#[test]
fn annotations_become_a_demand() {
    let table: &[Row<'_>] = &[
        (&[], 0, 0),
        (
            &[("cpu-quota", "150000"), ("cpu-period", "100000")],
            1500,
            0,
        ),
        (&[("cpu-quota", "10000")], 100, 0),
        (&[("cpu-quota", "1"), ("cpu-period", "100000")], 1, 0),
        (&[("cpu-quota", "50000"), ("cpu-period", "0")], 500, 0),
        // Unlimited: what was promised counts.
        (&[("cpu-quota", "-1"), ("cpu-shares", "2048")], 2000, 0),
        (&[("cpu-quota", "0"), ("cpu-shares", "2")], 1, 0),
        (&[("cpu-quota", "100000"), ("cpu-shares", "8192")], 1000, 0),
        (&[("memory", "268435456")], 0, 256 * MIB),
        (&[("memory", "-1")], 0, 0),
        (&[("memory", "much"), ("cpu-quota", "")], 0, 0),
        (
            &[("cpu-quota", "9223372036854775807"), ("cpu-period", "1")],
            u64::MAX,
            0,
        ),
    ];
    for (given, cpu_millis, memory_bytes) in table {
        let expected = Demand {
            cpu_millis: *cpu_millis,
            memory_bytes: *memory_bytes,
        };
        assert_eq!(
            Demand::of_annotations(&annotations(given)),
            expected,
            "{given:?}"
        );
    }
}

#[test]
fn limits_become_a_demand_and_updates_change_it() {
    let at_first = Demand::of_limits(&limits(150_000, 100_000, 64 << 20));
    assert_eq!(
        (at_first.cpu_millis, at_first.memory_bytes),
        (1500, 64 * MIB)
    );
    assert_eq!(
        Demand::of_limits(&limits(-1, 100_000, -1)),
        Demand::default()
    );
    assert_eq!(Demand::of_limits(&Default::default()), Demand::default());

    assert_eq!(at_first.updated(&Default::default()), at_first);
    assert_eq!(at_first.updated(&limits(0, 0, 0)), at_first);
    let lifted = at_first.updated(&limits(-1, 0, 1 << 30));
    assert_eq!((lifted.cpu_millis, lifted.memory_bytes), (0, GIB));
    assert_eq!(at_first.plus(lifted).memory_bytes, GIB + 64 * MIB);
    assert_eq!(
        at_first.or(lifted),
        Demand {
            cpu_millis: 1500,
            memory_bytes: GIB
        }
    );
}

fn sizing(overhead_vcpus: f64) -> Sizing {
    Sizing {
        base: VmSize {
            vcpus: 1,
            memory_mib: 256,
        },
        most: VmSize {
            vcpus: 4,
            memory_mib: 2000,
        },
        overhead_vcpus,
        overhead_memory_mib: 64,
        fixed: false,
    }
}

#[test]
fn a_vm_is_as_large_as_its_pod_and_never_smaller_than_the_template() {
    // CPU in thousandths, memory in MiB; vCPUs, MiB, clipped.
    let table = [
        (0, 0, 1, 256, false),
        (1, 1, 1, 256, false),
        // 64 MiB are for the guest, and one of each 64 is for keeping account of them.
        (1000, 190, 1, 256, false),
        (1001, 191, 2, 384, false),
        (2000, 316, 2, 384, false),
        (2500, 317, 3, 512, false),
        (4000, 1024, 4, 1152, false),
        (4001, 1024, 4, 1152, true),
        // 13 blocks fit between 256 and 2000 MiB.
        (0, 1828, 1, 1920, false),
        (0, 1829, 1, 1920, true),
        (u64::MAX, u64::MAX >> 20, 4, 1920, true),
    ];
    for (cpu_millis, mib, vcpus, memory_mib, clipped) in table {
        let demand = Demand {
            cpu_millis,
            memory_bytes: mib << 20,
        };
        let size = VmSize { vcpus, memory_mib };
        let pod = demand.size(&sizing(0.0));
        assert_eq!(pod, PodSize { size, clipped }, "{cpu_millis}m {mib} MiB");
    }
    let with_overhead = |cpu_millis| {
        let demand = Demand {
            cpu_millis,
            memory_bytes: 0,
        };
        demand.size(&sizing(0.25)).size.vcpus
    };
    assert_eq!([0, 750, 751, 1750].map(with_overhead), [1, 1, 2, 2]);
}

#[test]
fn the_vmm_is_killed_before_the_shim_and_with_its_best_protected_container() {
    assert_eq!(oom_score::for_vmm([], -998), None);
    assert_eq!(oom_score::for_vmm([1000], -998), Some(1000));
    assert_eq!(oom_score::for_vmm([1000, 937, 999], -998), Some(937));
    assert_eq!(oom_score::for_vmm([-997], -998), Some(-997));
    assert_eq!(oom_score::for_vmm([-998], -998), Some(-997));
    assert_eq!(oom_score::for_vmm([0], 1000), Some(1000));
}

#[test]
fn a_score_is_raised_and_a_refusal_is_no_error() {
    let log = slog::Logger::root(slog::Discard, slog::o!());
    let mut child = std::process::Command::new("sleep")
        .arg("60")
        .spawn()
        .unwrap();
    let before = oom_score::read(child.id()).unwrap();
    let higher = (before + 17).min(1000);
    oom_score::set(child.id(), higher, &log);
    assert_eq!(oom_score::read(child.id()).unwrap(), higher);
    oom_score::set(child.id(), -1000, &log);
    oom_score::set(u32::MAX, 5, &log);
    child.kill().unwrap();
    child.wait().unwrap();
}

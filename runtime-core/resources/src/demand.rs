//! How much a pod asks for, read from annotations and limits.

use std::collections::HashMap;

use oci_spec::runtime::LinuxResources;

/// Annotations of the sandbox with what all containers of the pod ask for together (containerd,
/// `pkg/cri/annotations`).
const CPU_QUOTA: &str = "io.kubernetes.cri.sandbox-cpu-quota";
const CPU_PERIOD: &str = "io.kubernetes.cri.sandbox-cpu-period";
const CPU_SHARES: &str = "io.kubernetes.cri.sandbox-cpu-shares";
const MEMORY: &str = "io.kubernetes.cri.sandbox-memory";

/// The kernel's default period, in microseconds (sched-bwc).
const DEFAULT_PERIOD: u64 = 100_000;
/// Number of shares that stand for one CPU.
const SHARES: u64 = 1024;

/// CPU and memory that a pod or a container asks for; 0 if it does not ask for any.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Demand {
    /// CPU time in thousandths of a CPU.
    pub cpu_millis: u64,
    /// Amount of memory, in bytes.
    pub memory_bytes: u64,
}

impl Demand {
    /// Reads a sandbox's annotations. A value that is not a number counts as missing. Without a
    /// quota, the shares are used: the pod was promised them.
    #[must_use]
    pub fn of_annotations(annotations: &HashMap<String, String>) -> Self {
        let number = |key| {
            annotations
                .get(key)
                .and_then(|text| text.parse::<i64>().ok())
        };
        let quota = number(CPU_QUOTA).unwrap_or_default();
        let cpu_millis = if quota > 0 {
            millis(quota, count(number(CPU_PERIOD)))
        } else {
            count(number(CPU_SHARES)).saturating_mul(1000) / SHARES
        };
        Self {
            cpu_millis,
            memory_bytes: count(number(MEMORY)),
        }
    }

    /// Reads a container's limits.
    #[must_use]
    pub fn of_limits(limits: &LinuxResources) -> Self {
        let period = limits.cpu().as_ref().and_then(|cpu| cpu.period());
        let quota = quota(limits);
        Self {
            cpu_millis: if quota > 0 {
                millis(quota, period.unwrap_or_default())
            } else {
                0
            },
            memory_bytes: count(Some(memory(limits))),
        }
    }

    /// The sum, for two containers.
    #[must_use]
    pub fn plus(self, other: Self) -> Self {
        Self {
            cpu_millis: self.cpu_millis.saturating_add(other.cpu_millis),
            memory_bytes: self.memory_bytes.saturating_add(other.memory_bytes),
        }
    }

    /// The larger values, for two descriptions of the same pod.
    #[must_use]
    pub fn or(self, other: Self) -> Self {
        Self {
            cpu_millis: self.cpu_millis.max(other.cpu_millis),
            memory_bytes: self.memory_bytes.max(other.memory_bytes),
        }
    }

    /// The demand after an update, in which 0 means unchanged and less than 0 means unlimited.
    #[must_use]
    pub fn updated(self, limits: &LinuxResources) -> Self {
        let new = Self::of_limits(limits);
        Self {
            cpu_millis: if quota(limits) == 0 {
                self.cpu_millis
            } else {
                new.cpu_millis
            },
            memory_bytes: if memory(limits) == 0 {
                self.memory_bytes
            } else {
                new.memory_bytes
            },
        }
    }
}

/// The limit, or 0 if none is given.
fn quota(limits: &LinuxResources) -> i64 {
    let cpu = limits.cpu().as_ref();
    cpu.and_then(|cpu| cpu.quota()).unwrap_or_default()
}

/// The limit, or 0 if none is given.
fn memory(limits: &LinuxResources) -> i64 {
    let memory = limits.memory().as_ref();
    memory.and_then(|memory| memory.limit()).unwrap_or_default()
}

/// The number; 0 if it is negative, which means "no limit" or "not set".
fn count(number: Option<i64>) -> u64 {
    number
        .and_then(|number| u64::try_from(number).ok())
        .unwrap_or_default()
}

fn millis(quota: i64, period: u64) -> u64 {
    let period = if period == 0 { DEFAULT_PERIOD } else { period };
    count(Some(quota)).saturating_mul(1000).div_ceil(period)
}

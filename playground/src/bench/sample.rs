//! What one measurement yields; kept as JSON, so that others can compute from it.

use serde::Serialize;

use crate::starts::StartReport;

/// What a container was started in.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Way {
    /// A VM that was booted.
    Booted,
    /// A VM that was restored from a template.
    Restored,
    /// No VM: runc's namespaces.
    Runc,
}

impl Way {
    /// All, in the order of a round.
    pub const ALL: [Self; 3] = [Self::Booted, Self::Restored, Self::Runc];

    /// The name that tables and JSON use.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Booted => "booted",
            Self::Restored => "restored",
            Self::Runc => "runc",
        }
    }
}

/// What a start has cost by the time that its container answers. Milliseconds of CPU.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Costs {
    /// The shim's, without the short call of it that starts the daemon.
    pub shim_cpu_ms: f64,
    /// CPU time of the VMM, the guest's work included.
    pub vmm_cpu_ms: f64,
    /// Page faults of the VMM that needed no reading.
    pub vmm_minor_faults: u64,
    /// Page faults of the VMM that read from a file or from swap.
    pub vmm_major_faults: u64,
}

/// One `ctr run` of a short container, measured.
#[derive(Debug, Clone, Serialize)]
pub struct RunSample {
    /// How its VM was started.
    pub way: Way,
    /// From the start of `ctr` to the first byte of the container's output.
    pub first_byte_ms: f64,
    /// The shim's record; none of runc's.
    pub start: Option<StartReport>,
    /// What it cost the node; `None` with runc.
    pub costs: Option<Costs>,
}

/// One pod through the CRI.
#[derive(Debug, Clone, Serialize)]
pub struct PodSample {
    /// How its VM was started.
    pub way: Way,
    /// `RunPodSandbox`, from request to answer.
    pub pod_ms: f64,
    /// A container, from the request of `CreateContainer` to the answer to `StartContainer`.
    pub container_ms: f64,
    /// From the request of `RunPodSandbox` to the first line in the container's log.
    pub output_ms: f64,
    /// The shim's record; none of runc's.
    pub start: Option<StartReport>,
    /// What it cost the node; `None` with runc.
    pub costs: Option<Costs>,
}

/// Proportional set sizes of a pod that idles, in KiB.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Memory {
    /// Proportional set size (PSS) of the VMM, guest memory included, in KiB.
    pub vmm_pss_kib: u64,
    /// Of this, the guest's memory: what is shared with the template, and what is the clone's own.
    pub guest_pss_kib: u64,
    /// Of this, guest code in the host's instructions; there is none where the host runs it itself.
    pub code_pss_kib: u64,
    /// Proportional set size (PSS) of the shim, in KiB.
    pub shim_pss_kib: u64,
}

/// Pods that were started together, or one after the other beside others.
#[derive(Debug, Clone, Serialize)]
pub struct Crowd {
    /// How many: started at once, or alive while others are started.
    pub pods: u16,
    /// From the first request to the last pod's output.
    pub wall_ms: f64,
    /// Each that was started.
    pub each: Vec<PodSample>,
    /// Why others were not.
    pub failed: Vec<String>,
    /// Each that is alive once all are.
    pub memory: Vec<Memory>,
}

/// All samples of a benchmark.
#[derive(Debug, Clone, Serialize)]
pub struct Raw {
    /// CPUs of the machine.
    pub cores: usize,
    /// Starts by `ctr run`, in the order in which they were made.
    pub runs: Vec<RunSample>,
    /// Starts through the CRI, likewise.
    pub pods: Vec<PodSample>,
    /// Pods started at once.
    pub at_once: Vec<Crowd>,
    /// Pods started one after the other while others are alive.
    pub beside: Vec<Crowd>,
}

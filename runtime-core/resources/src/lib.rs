#![forbid(unsafe_code)]
//! What a pod may use: the size of its VM, its cgroups on the host, and the OOM score of its VMM.
//!
//! ```text
//!   annotations of the sandbox --+
//! +--> Demand::size(Sizing) --> VmSize --> boot, or RunningSize::ensure
//!   limits of the containers ----+
//!   linux.cgroupsPath --> PodCgroups: shim and VMM in it (or only the vCPUs' threads)
//! ```

pub mod cgroup;
mod demand;
mod grow;
pub mod oom_score;
mod pod;
mod size;

pub use demand::Demand;
pub use grow::{Beyond, ResizeError, RunningSize};
pub use pod::PodResources;
pub use size::PodSize;

#[cfg(test)]
mod tests;

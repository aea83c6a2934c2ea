//! What a pod may use: the size of its VM, its cgroups on the host, its place in line when the
//! host's memory runs out.
//!
//! ```text
//!   annotations of the sandbox --+
//!                                +--> Demand --> Sizing::size --> VmSize --> boot, or RunningSize::ensure
//!   limits of the containers ----+
//!   linux.cgroupsPath --> PodCgroups: shim and monitor in it (or only the vCPUs' threads)
//! ```

pub mod cgroup;
mod demand;
mod grow;
pub mod oom_score;
mod pod;
mod shape;

pub use demand::Demand;
pub use grow::{Beyond, ResizeError, RunningSize};
pub use pod::PodResources;
pub use shape::{PodSize, Sizing};

#[cfg(test)]
mod tests;

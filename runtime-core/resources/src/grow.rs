//! Grows a running VM with its pod.

use std::sync::Arc;

use agent_client::{Agent, agent::OnlineCPUMemRequest};
use config::Sizing;
use hypervisors::{Vm, VmSize};
use slog::{Logger, info, warn};
use tokio::sync::Mutex;

use super::Demand;

/// What is done if more is asked for than the largest size of a VM.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Beyond {
    /// The VM gets the largest size, with a warning. Limits above what the node has are common, and
    /// are not a promise.
    Clip,
    /// The request fails with [`ResizeError::TooLarge`].
    Refuse,
}

/// Why a VM did not grow, or not as far as was asked for.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ResizeError {
    /// The configuration fixes the VM's size.
    #[error(
        "The VM cannot grow from {has} to {wanted}: static_sandbox_resource_mgmt fixes its size at \
         its start"
    )]
    Fixed {
        /// The present size of the VM.
        has: VmSize,
        /// The size that was asked for.
        wanted: VmSize,
    },
    /// The configuration or the node does not allow as much.
    #[error("The VM cannot grow beyond {most}: {millis}m CPU and {mib} MiB were asked for")]
    TooLarge {
        /// The largest size of a VM.
        most: VmSize,
        /// CPU asked for, in thousandths.
        millis: u64,
        /// Memory asked for, in MiB.
        mib: u64,
    },
    /// The VMM or the guest's kernel refused.
    #[error("The VM cannot grow from {has} to {wanted}")]
    Vm {
        /// The present size of the VM.
        has: VmSize,
        /// The size that was asked for.
        wanted: VmSize,
        /// What the VMM answered.
        #[source]
        source: hypervisors::Error,
    },
    /// The agent did not bring hot-plugged vCPUs or memory online.
    #[error("The VM grew to {has}, but its agent did not bring all of it online")]
    Agent {
        /// The present size of the VM.
        has: VmSize,
        /// What the agent answered.
        #[source]
        source: agent_client::Error,
    },
}

/// The size of a running VM. It only grows: smaller limits are enforced by the guest's cgroups.
pub struct RunningSize {
    vm: Arc<dyn Vm>,
    agent: Agent,
    sizing: Sizing,
    now: Mutex<VmSize>,
    log: Logger,
}

impl RunningSize {
    /// The size of a VM that has `now` at present.
    pub fn new(vm: Arc<dyn Vm>, agent: Agent, sizing: Sizing, now: VmSize, log: Logger) -> Self {
        Self {
            vm,
            agent,
            sizing,
            now: Mutex::new(now),
            log,
        }
    }

    /// The present size of the VM.
    pub async fn now(&self) -> VmSize {
        *self.now.lock().await
    }

    /// Number of the VMM in `/proc`.
    pub fn vmm_pid(&self) -> u32 {
        self.vm.process().pid
    }

    /// The host's thread behind each vCPU.
    ///
    /// # Errors
    /// The VMM does not answer, or does not report them.
    pub async fn vcpu_threads(&self) -> hypervisors::Result<Vec<u32>> {
        self.vm.vcpu_threads().await
    }

    /// Grows the VM to the size for `demand`, if it is smaller.
    ///
    /// # Errors
    /// It did not grow, or only as far as the error says.
    pub async fn ensure(&self, demand: Demand, beyond: Beyond) -> Result<(), ResizeError> {
        let wanted = demand.size(&self.sizing);
        let mut now = self.now.lock().await;
        if wanted.clipped {
            let error = ResizeError::TooLarge {
                most: self.sizing.most,
                millis: demand.cpu_millis,
                mib: demand.memory_bytes >> 20,
            };
            match beyond {
                Beyond::Refuse => return Err(error),
                Beyond::Clip => warn!(self.log, "limits exceed the VM"; "reason" => %error),
            }
        }
        if now.covers(wanted.size) {
            return Ok(());
        }
        if self.sizing.fixed {
            return Err(ResizeError::Fixed {
                has: *now,
                wanted: wanted.size,
            });
        }
        self.grow(&mut now, wanted.size).await
    }

    async fn grow(&self, now: &mut VmSize, wanted: VmSize) -> Result<(), ResizeError> {
        let before = *now;
        let added = self.add(now, wanted).await;
        // After an error, too, what was hot-plugged before should be usable.
        if *now != before {
            let request = OnlineCPUMemRequest {
                wait: true,
                nb_cpus: now.vcpus,
                cpu_only: now.memory_mib == before.memory_mib,
                ..Default::default()
            };
            let online = self.agent.online_cpu_mem(request).await;
            online.map_err(|source| ResizeError::Agent { has: *now, source })?;
            info!(self.log, "VM grew"; "from" => %before, "to" => %*now);
        }
        added.map_err(|source| ResizeError::Vm {
            has: *now,
            wanted,
            source,
        })
    }

    /// Hot-plugs memory, then vCPUs. `now` is what the VM has afterwards, also after an error.
    async fn add(&self, now: &mut VmSize, wanted: VmSize) -> hypervisors::Result<()> {
        if wanted.memory_mib > now.memory_mib {
            now.memory_mib = self.vm.resize_memory(wanted.memory_mib).await?;
        }
        if wanted.vcpus > now.vcpus {
            self.vm.resize_vcpus(wanted.vcpus).await?;
            now.vcpus = wanted.vcpus;
        }
        Ok(())
    }
}

//! Lets a running VM grow with its pod.

use std::sync::Arc;

use agent_client::{Agent, agent::OnlineCPUMemRequest};
use config::Sizing;
use hypervisors::{Vm, VmSize};
use slog::{Logger, info, warn};
use tokio::sync::Mutex;

use super::Demand;

/// What is done about a wish beyond the largest size of a VM.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Beyond {
    /// The VM gets the largest size, with a warning. A limit above what the node has is common,
    /// and promises nothing.
    Clip,
    /// An error.
    Refuse,
}

/// A VM that did not grow, or not as far as was asked for.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ResizeError {
    /// The configuration fixes the VM's size.
    #[error(
        "The VM cannot grow from {has} to {wanted}: static_sandbox_resource_mgmt fixes its size at \
         its start"
    )]
    Fixed {
        /// What it has.
        has: VmSize,
        /// What was asked for.
        wanted: VmSize,
    },
    /// More than the configuration or the node allows.
    #[error("The VM cannot grow beyond {most}: {millis}m CPU and {mib} MiB were asked for")]
    TooLarge {
        /// The largest size.
        most: VmSize,
        /// CPU asked for, in thousandths.
        millis: u64,
        /// Memory asked for, in MiB.
        mib: u64,
    },
    /// The monitor, or the guest's kernel.
    #[error("The VM cannot grow from {has} to {wanted}")]
    Vm {
        /// What it has.
        has: VmSize,
        /// What was asked for.
        wanted: VmSize,
        /// Why.
        #[source]
        source: hypervisors::Error,
    },
    /// The agent did not bring online what was plugged.
    #[error("The VM grew to {has}, but its agent did not bring all of it online")]
    Agent {
        /// What it has.
        has: VmSize,
        /// The agent's words.
        #[source]
        source: agent_client::Error,
    },
}

/// The size of a running VM. It only ever grows: shrinking limits is the guest's cgroups' business.
pub struct RunningSize {
    vm: Arc<dyn Vm>,
    agent: Agent,
    sizing: Sizing,
    now: Mutex<VmSize>,
    log: Logger,
}

impl RunningSize {
    /// Of a VM that has `now`.
    pub fn new(vm: Arc<dyn Vm>, agent: Agent, sizing: Sizing, now: VmSize, log: Logger) -> Self {
        Self {
            vm,
            agent,
            sizing,
            now: Mutex::new(now),
            log,
        }
    }

    /// How large the VM is.
    pub async fn now(&self) -> VmSize {
        *self.now.lock().await
    }

    /// Process id of the monitor.
    pub fn monitor(&self) -> u32 {
        self.vm.process().pid
    }

    /// The host's thread behind each vCPU.
    ///
    /// # Errors
    /// The monitor does not tell.
    pub async fn vcpu_threads(&self) -> hypervisors::Result<Vec<u32>> {
        self.vm.vcpu_threads().await
    }

    /// Makes the VM large enough for `demand`, if it is not.
    ///
    /// # Errors
    /// It has grown only so far as the error says.
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
                Beyond::Clip => warn!(self.log, "limits are beyond the VM"; "reason" => %error),
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
        let plugged = self.plug(now, wanted).await;
        // Also what was plugged before an error is to be of use.
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
        plugged.map_err(|source| ResizeError::Vm {
            has: *now,
            wanted,
            source,
        })
    }

    async fn plug(&self, now: &mut VmSize, wanted: VmSize) -> hypervisors::Result<()> {
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

//! Starting a VM from its kernel.

use std::{sync::Arc, time::Duration};

use agent_client::{Agent, Channel};
use hypervisors::{Hypervisor, Vm, VmSpec};

use super::{
    BootReason, Budgets, StartPath, StartRecord, Started, guest_channel, patience::Patience,
    record::Phases, unique::proof,
};
use crate::identity::Shape;

/// A VM that did not start. Nothing of it is left.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum StartError {
    /// The monitor did not make it.
    #[error("The virtual machine was not started")]
    Monitor(#[source] hypervisors::Error),
    /// The monitor ended before the guest's agent answered.
    #[error("The virtual machine ended before its agent answered: {last_words}")]
    Ended {
        /// The monitor's last lines on standard error.
        last_words: String,
    },
    /// The guest came up, but not its agent.
    #[error("The virtual machine was started, but its agent did not answer; it was ended again")]
    Agent(#[source] agent_client::Error),
    /// The guest's agent did not answer in time.
    #[error(
        "The virtual machine was started, but its agent did not answer within {budget:?}{hint}; it \
         was ended again"
    )]
    Late {
        /// What it had, on a node that has not too much to do.
        budget: Duration,
        /// What a guest of another kind would have needed.
        hint: &'static str,
    },
    /// One of the above, after a restore that failed as well.
    #[error("{error} (a restore had failed before: {restore})")]
    AfterRestore {
        /// The boot's failure.
        #[source]
        error: Box<StartError>,
        /// The restore's.
        restore: String,
    },
}

impl StartError {
    pub(super) fn after(self, reason: &BootReason) -> Self {
        match reason {
            BootReason::RestoreFailed { reason, .. } => Self::AfterRestore {
                error: Box::new(self),
                restore: reason.clone(),
            },
            _ => self,
        }
    }
}

/// A VM that was booted and whose agent answers.
pub(super) struct Booted {
    vm: Arc<dyn Vm>,
    agent: Agent,
}

impl Booted {
    pub(super) async fn started(
        self,
        phases: Phases,
        reason: &BootReason,
        shape: Shape,
    ) -> Started {
        let record = StartRecord {
            path: StartPath::Booted,
            template_key: reason.template_key().map(str::to_owned),
            shape,
            reason: reason.to_string(),
            reason_label: reason.label(),
            phases: phases.done,
            proof: proof(self.vm.as_ref()).await,
        };
        Started {
            vm: self.vm,
            agent: self.agent,
            record,
        }
    }
}

fn late(budget: Duration, channel: &Channel) -> StartError {
    let hint = match channel {
        Channel::Serial(_) => {
            " on its virtio-serial port (a stock kata-agent needs agent_channel = \"vsock\")"
        }
        Channel::Vsock { .. } | Channel::HybridVsock { .. } => "",
    };
    StartError::Late { budget, hint }
}

/// Boots. On an error no process is left.
pub(super) async fn boot(
    hypervisor: &dyn Hypervisor,
    spec: &VmSpec,
    budgets: Budgets,
    phases: &mut Phases,
) -> Result<Booted, StartError> {
    let vm = hypervisor.boot(spec).await.map_err(StartError::Monitor)?;
    phases.mark("boot");
    let channel = guest_channel(vm.as_ref());
    let patience = Patience::begin(budgets.agent, budgets.stretch);
    let connected = tokio::select! {
        biased;
        agent = Agent::connect(&channel, patience.most()) => agent.map_err(StartError::Agent),
        exit = vm.wait() => Err(StartError::Ended { last_words: exit.last_words }),
        () = patience.over() => Err(late(budgets.agent, &channel)),
    };
    match connected {
        Ok(agent) => {
            phases.mark("connect");
            Ok(Booted { vm, agent })
        }
        Err(error) => {
            // Its own failure would say less than why the agent did not answer.
            let _ = vm.kill().await;
            Err(error)
        }
    }
}

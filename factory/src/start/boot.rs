//! Starting a VM from its kernel.

use std::time::Duration;

use agent_client::{Agent, Channel};
use hypervisors::{Hypervisor, VmSpec};

use super::{
    Ready, StartError, Timeouts, guest_channel,
    timeline::{StartStep, Steps},
    timeout::Timeout,
};

fn late(timeout: Duration, channel: &Channel) -> StartError {
    let hint = match channel {
        Channel::Serial(_) => {
            " on its virtio-serial port (a stock kata-agent needs agent_channel = \"vsock\")"
        }
        Channel::Vsock { .. } | Channel::HybridVsock { .. } => "",
    };
    StartError::Late { timeout, hint }
}

/// Boots a VM from its kernel and waits for its agent. On an error no process is left.
pub(super) async fn boot(
    vmm: &dyn Hypervisor,
    spec: &VmSpec,
    timeouts: Timeouts,
    steps: &mut Steps<'_>,
) -> Result<Ready, StartError> {
    let vm = vmm.boot(spec).await.map_err(StartError::Vmm)?;
    steps.mark(StartStep::Boot);
    let channel = guest_channel(vm.as_ref());
    let timeout = Timeout::begin(timeouts.agent, timeouts.max_stretch);
    let connected = tokio::select! {
        biased;
        agent = Agent::connect(&channel, timeout.most()) => agent.map_err(StartError::Agent),
        exit = vm.wait() => Err(StartError::Ended { last_words: exit.last_words }),
        () = timeout.over() => Err(late(timeouts.agent, &channel)),
    };
    match connected {
        Ok(agent) => {
            steps.mark(StartStep::Connect);
            Ok(Ready { vm, agent })
        }
        Err(error) => {
            // If killing fails, that says less than why the agent did not answer.
            let _ = vm.kill().await;
            Err(error)
        }
    }
}

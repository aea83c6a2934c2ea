//! Makes a clone unique, in steps. Each state is a type, and only the last one gives out the agent,
//! so no request can be sent to a clone before it is unique.

use std::{sync::Arc, time::Duration};

use agent_client::{
    Agent,
    agent::{ReseedRandomDevRequest, SetGuestDateTimeRequest},
};
use hypervisors::Vm;
use system::{error::chain, random, time::since_epoch};

use super::{Ready, guest_channel, restore::Failure};

/// Bytes of entropy that a clone gets. The kernel's pool takes 32; the rest is for guests that
/// divide it.
const SEED_LENGTH: usize = 512;

/// A clone whose vCPUs do not run yet.
pub(super) struct Paused(pub(super) Arc<dyn Vm>);

/// A clone that runs and is still equal to all other clones.
pub(super) struct Running(Arc<dyn Vm>);

/// A clone whose agent is connected. Only this module can call it.
pub(super) struct Connected {
    vm: Arc<dyn Vm>,
    agent: Agent,
}

/// A clone whose guest has acknowledged fresh entropy and the time.
pub(super) struct Unique {
    vm: Arc<dyn Vm>,
    agent: Agent,
}

impl Paused {
    pub(super) async fn resume(self) -> Result<Running, Failure> {
        self.0
            .resume()
            .await
            .map_err(Failure::vmm("resuming the vCPUs"))?;
        Ok(Running(self.0))
    }
}

impl Running {
    /// Connects to the agent, within the given time.
    pub(super) async fn connect(self, within: Duration) -> Result<Connected, Failure> {
        let agent = Agent::connect(&guest_channel(self.0.as_ref()), within).await;
        let agent = agent.map_err(Failure::agent("connecting to the guest's agent"))?;
        Ok(Connected { vm: self.0, agent })
    }
}

impl Connected {
    /// Gives the guest fresh entropy and the present time, and waits until both are acknowledged.
    pub(super) async fn make_unique(self) -> Result<Unique, Failure> {
        let Self { vm, agent } = self;
        refresh(&agent).await?;
        Ok(Unique { vm, agent })
    }
}

/// Reseeds a guest's random number generator and sets its clock to the host's time.
pub(crate) async fn refresh(agent: &Agent) -> Result<(), Failure> {
    let reseed = ReseedRandomDevRequest {
        data: seed()?,
        ..Default::default()
    };
    let reseeded = async {
        let answer = agent.reseed_random_dev(reseed).await;
        answer.map_err(Failure::agent("reseeding the guest's random numbers"))
    };
    let clock_set = async {
        let answer = agent.set_guest_date_time(now()).await;
        answer.map_err(Failure::agent("setting the guest's clock"))
    };
    // They do not depend on each other.
    tokio::try_join!(reseeded, clock_set)?;
    Ok(())
}

impl Unique {
    /// The clone with its agent, which may be called from now on.
    pub(super) fn ready(self) -> Ready {
        Ready {
            vm: self.vm,
            agent: self.agent,
        }
    }
}

/// How the VM came to be, as the VMM itself answers, or why it did not answer. That fails no start.
pub(super) async fn origin(vm: &dyn Vm) -> String {
    vm.origin()
        .await
        .unwrap_or_else(|error| format!("unknown: {}", chain(&error)))
}

fn seed() -> Result<Vec<u8>, Failure> {
    let seed = random::bytes::<SEED_LENGTH>();
    let seed = seed.map_err(Failure::host("reading the host's random numbers"))?;
    Ok(seed.to_vec())
}

fn now() -> SetGuestDateTimeRequest {
    let now = since_epoch();
    SetGuestDateTimeRequest {
        Sec: now.as_secs().cast_signed(),
        Usec: now.subsec_micros().into(),
        ..Default::default()
    }
}

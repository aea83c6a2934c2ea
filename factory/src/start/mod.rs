//! Everything about the start of a pod's VM: the facts, the decision, its execution, and the
//! report.
//!
//! ```text
//!   Request, VMM, templates ──► Survey (facts) ──► decide ──► Plan ──► Restore or Boot ──► Started
//!                                     ▲                                       │
//!                                     └────── a way that failed ◄─────────────┘
//!
//!   Restore:  paused ──► running ──► connected ──► unique ──► grown
//!   Boot:     connected
//! ```
//!
//! A restore that fails or takes too long is killed, and nothing of it is left. The failure becomes
//! one of the facts, and [`decide`] names the next way; the last one is the boot.

mod boot;
mod counts;
mod decide;
mod error;
mod facts;
mod first_image;
mod grow;
mod limit;
mod plan;
mod reason;
mod report;
mod restore;
mod run;
mod survey;
mod timeline;
mod timeout;
mod traces;
mod unique;

use std::sync::Arc;

use agent_client::{AGENT_PORT, Agent, Channel};
use hypervisors::{AgentChannel, DiskSlots, Vm, VmSize};

pub(crate) use self::unique::refresh;
pub use self::{
    counts::{CountedBoot, StartCounts},
    decide::decide,
    error::StartError,
    facts::{Candidate, Condition, Facts, FailedWay, Found, Templates},
    first_image::{FirstImage, Image},
    limit::{LimitError, StartLimit, StartSlot},
    plan::{FirstDisk, Plan, Way},
    reason::{BootReason, ReasonLabel},
    report::{FILE as REPORT_FILE, Phase, ReportError, StartPath, StartReport},
    run::Start,
    survey::{Request, Survey},
    timeline::{StartStep, Timeline},
    timeout::Timeouts,
};

/// A VM that is ready for containers: it was booted, or it is a clone that was made unique. Only
/// this module makes one.
#[non_exhaustive]
pub struct Started {
    /// The VM, which is running.
    pub vm: Arc<dyn Vm>,
    /// The connection to its agent.
    pub agent: Agent,
    /// The size that it has now.
    pub size: VmSize,
    /// The disk slots that it was started with.
    pub slots: DiskSlots,
    /// How it was started, and why so.
    pub report: StartReport,
    /// Its place in the start limit, if it needed one. When this is dropped, another start gets it.
    pub place: Option<StartSlot>,
}

impl std::fmt::Debug for Started {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Started")
            .field("report", &self.report)
            .finish_non_exhaustive()
    }
}

/// A VM whose agent may be called: it was booted, or it is a unique clone.
struct Ready {
    vm: Arc<dyn Vm>,
    agent: Agent,
}

/// The channel to the agent of `vm`, as the agent's client takes it.
pub(crate) fn guest_channel(vm: &dyn Vm) -> Channel {
    match vm.agent_channel() {
        AgentChannel::VirtioSerial(socket) => Channel::Serial(socket.clone()),
        AgentChannel::Vsock { cid } => Channel::Vsock {
            cid: *cid,
            port: AGENT_PORT,
        },
        AgentChannel::HybridVsock(socket) => Channel::HybridVsock {
            socket: socket.clone(),
            port: AGENT_PORT,
        },
    }
}

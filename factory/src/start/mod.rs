//! The one room in which a pod's VM is started: the facts, the decision, what carries it out, and the
//! report of it.
//!
//! ```text
//!   Request, VMM, templates ──► Survey (facts) ──► decide ──► Plan
//!                                  ▲                           │
//!                                  │                           ├─ Restore ─► paused ─► running ─► connected ─► unique ─► grown ─┐
//!                a way that failed ┘                           │     └─ any failure, or the timeout: killed, cleaned, noted     ├─► Started
//!                (nothing of it is left)                       └─ Boot ────► connected ────────────────────────────────────────┘
//! ```
//!
//! A way that fails becomes one of the facts, and [`decide`] names the next one: the last is the boot.

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
    /// The VM.
    pub vm: Arc<dyn Vm>,
    /// Its agent.
    pub agent: Agent,
    /// Its size.
    pub size: VmSize,
    /// The disk slots that it was started with.
    pub slots: DiskSlots,
    /// How it was started.
    pub report: StartReport,
    /// Its place among the node's starts, if it had to have one. Another start has it when this is
    /// dropped.
    pub place: Option<StartSlot>,
}

impl std::fmt::Debug for Started {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Started")
            .field("report", &self.report)
            .finish_non_exhaustive()
    }
}

/// A VM whose agent may be asked: it was booted, or it is unique.
struct Ready {
    vm: Arc<dyn Vm>,
    agent: Agent,
}

/// The agent's channel in the client's terms.
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

//! Starting a pod's VM: by restoring a template where one fits, else by booting.
//!
//! ```text
//!   choose ──► Restore ──► restored, paused ─► running ─► connected ─► unique ──► Started
//!      │                       └───────────────┴─ any failure, or the budget ends ──┐
//!      │                                           kill, clean, remember, say why   │
//!      └─────► Boot ──────────────────────────────► boot ─► connected ◄─────────────┘
//! ```

mod boot;
mod patience;
mod plan;
mod record;
mod restore;
mod saved_form;
mod unique;

use std::{collections::BTreeSet, ffi::OsString, path::Path, sync::Arc, time::Duration};

use agent_client::{AGENT_PORT, Agent, Channel};
use hypervisors::{AgentChannel, Hypervisor, Vm, VmSpec};
use slog::{Logger, info, warn};

pub(crate) use self::unique::refresh;
pub use self::{
    boot::StartError,
    plan::{BootReason, StartPlan, choose, plan},
    record::{Phase, StartPath, StartRecord},
};
use self::{boot::boot, record::Phases, restore::restore};
use crate::{identity::Shape, template::Template};

/// How long a start may wait.
#[derive(Debug, Clone, Copy)]
pub struct Budgets {
    /// For a restored VM to be ready, from the monitor's start on. A restore that takes longer is
    /// given up for a boot. A restore takes under 0.1 s where it works, so the default of 5 s only
    /// ends one that hangs.
    pub restore: Duration,
    /// For a booted guest's agent to answer.
    pub agent: Duration,
    /// How many times longer both may take on a node each of whose CPUs has that many threads that
    /// want it. 1 for never longer.
    pub stretch: u32,
}

impl Default for Budgets {
    fn default() -> Self {
        Self {
            restore: Duration::from_secs(5),
            agent: Duration::from_secs(60),
            stretch: 1,
        }
    }
}

/// A VM that is ready for containers: it was booted, or it is a clone that was made unique. Only
/// this module makes one.
#[non_exhaustive]
pub struct Started {
    /// The VM.
    pub vm: Arc<dyn Vm>,
    /// Its agent.
    pub agent: Agent,
    /// How it was started.
    pub record: StartRecord,
}

impl std::fmt::Debug for Started {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Started")
            .field("record", &self.record)
            .finish_non_exhaustive()
    }
}

/// Carries out `plan` for the VM that `spec` describes. A restore that fails is followed by a boot;
/// an error means that the boot failed, and then no process, and nothing new in
/// [`VmSpec::run_dir`], is left.
pub async fn start(
    plan: StartPlan,
    hypervisor: &dyn Hypervisor,
    spec: &VmSpec,
    budgets: Budgets,
    log: &Logger,
) -> Result<Started, StartError> {
    let mut phases = Phases::begin();
    let reason = match plan {
        StartPlan::Boot(reason) => reason,
        StartPlan::Restore(template) => {
            match restore_or_clean(&template, hypervisor, spec, budgets, &mut phases, log).await {
                Ok(started) => return Ok(started),
                Err(reason) => reason,
            }
        }
    };
    info!(log, "booting the VM"; "reason" => %reason);
    let before = entries(&spec.run_dir);
    match boot(hypervisor, spec, budgets, &mut phases).await {
        Ok(booted) => Ok(booted.started(phases, &reason, Shape::of(spec)).await),
        Err(error) => {
            remove_new_entries(&spec.run_dir, &before, log);
            Err(error.after(&reason))
        }
    }
}

async fn restore_or_clean(
    template: &Template,
    hypervisor: &dyn Hypervisor,
    spec: &VmSpec,
    budgets: Budgets,
    phases: &mut Phases,
    log: &Logger,
) -> Result<Started, BootReason> {
    let before = entries(&spec.run_dir);
    let failure = match restore(template, hypervisor, spec, budgets, phases, log).await {
        Ok(clone) => {
            if let Err(e) = template.record_success() {
                warn!(log, "cannot clear a template's record of failures"; "error" => %e);
            }
            return Ok(clone.started(phases, template).await);
        }
        Err(failure) => failure,
    };
    phases.mark("failed restore");
    let reason = failure.to_string();
    warn!(log, "restore failed, booting instead"; "template_key" => template.key(), "reason" => &reason);
    remove_new_entries(&spec.run_dir, &before, log);
    if let Err(e) = template.record_failure(&reason) {
        warn!(log, "cannot record the failure of a restore"; "error" => %e);
    }
    Err(BootReason::RestoreFailed {
        template_key: template.key().to_owned(),
        reason,
    })
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

fn entries(dir: &Path) -> BTreeSet<OsString> {
    std::fs::read_dir(dir)
        .into_iter()
        .flatten()
        .flatten()
        .map(|entry| entry.file_name())
        .collect()
}

/// Removes the sockets a monitor left in a run directory, but nothing that was there before it.
fn remove_new_entries(dir: &Path, before: &BTreeSet<OsString>, log: &Logger) {
    for name in entries(dir).difference(before) {
        let path = dir.join(name);
        let removed = match path.symlink_metadata() {
            Ok(meta) if meta.is_dir() => std::fs::remove_dir_all(&path),
            Ok(_) => std::fs::remove_file(&path),
            Err(e) => Err(e),
        };
        if let Err(e) = removed {
            warn!(log, "left behind in the run directory"; "path" => %path.display(), "error" => %e);
        }
    }
}

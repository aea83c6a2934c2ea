//! Restoring a clone within its budget, or leaving nothing of it.

use std::{error::Error, future::Future, io, sync::Arc, time::Duration};

use hypervisors::{Hypervisor, Vm, VmSpec};
use slog::{Logger, error};
use system::error::chain;

use super::{
    Budgets,
    patience::Patience,
    record::Phases,
    saved_form::Saved,
    unique::{Paused, Unique},
};
use crate::template::Template;

/// Why a clone was given up.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Failure {
    #[error("{step}: {cause}")]
    Step { step: &'static str, cause: String },
    #[error("the monitor ended while {step}: {last_words}")]
    Ended {
        step: &'static str,
        last_words: String,
    },
    #[error("not ready within {budget:?}{}, while {step}", stretched(*waited))]
    Late {
        step: &'static str,
        budget: Duration,
        waited: Option<Duration>,
    },
}

/// That more than the budget was waited, and why.
fn stretched(waited: Option<Duration>) -> String {
    waited.map_or_else(String::new, |waited| {
        format!(", nor within {waited:.1?} on a node with too much to do")
    })
}

impl Failure {
    fn step<E: Error>(step: &'static str) -> impl FnOnce(E) -> Self {
        move |error| Self::Step {
            step,
            cause: chain(&error),
        }
    }

    pub(super) fn monitor(step: &'static str) -> impl FnOnce(hypervisors::Error) -> Self {
        Self::step(step)
    }

    pub(super) fn agent(step: &'static str) -> impl FnOnce(agent_client::Error) -> Self {
        Self::step(step)
    }

    pub(super) fn host(step: &'static str) -> impl FnOnce(io::Error) -> Self {
        Self::step(step)
    }
}

/// A restore under way: what it has cost so far, and when it must be over.
struct Attempt<'a> {
    budget: Duration,
    patience: Patience,
    phases: &'a mut Phases,
}

impl Attempt<'_> {
    /// Takes one step, unless the budget or the monitor ends first.
    async fn step<T>(
        &mut self,
        phase: &'static str,
        step: &'static str,
        vm: Option<&dyn Vm>,
        work: impl Future<Output = Result<T, Failure>>,
    ) -> Result<T, Failure> {
        let ended = async {
            match vm {
                Some(vm) => vm.wait().await,
                None => std::future::pending().await,
            }
        };
        let done = tokio::select! {
            biased;
            done = work => done?,
            exit = ended => return Err(Failure::Ended { step, last_words: exit.last_words }),
            () = self.patience.over() => {
                let waited = self.patience.waited();
                return Err(Failure::Late { step, budget: self.budget, waited });
            }
        };
        self.phases.mark(phase);
        Ok(done)
    }
}

/// Makes a unique clone of `template`. On a failure no process of it is left.
pub(super) async fn restore(
    template: &Template,
    hypervisor: &dyn Hypervisor,
    spec: &VmSpec,
    budgets: Budgets,
    phases: &mut Phases,
    log: &Logger,
) -> Result<Unique, Failure> {
    let spec = template.clone_spec(spec);
    let mut attempt = Attempt {
        budget: budgets.restore,
        patience: Patience::begin(budgets.restore, budgets.stretch),
        phases,
    };
    let load = async {
        let saved = Saved::of(template, hypervisor.capabilities(), &spec);
        let saved = saved.map_err(Failure::step("describing the clone to its monitor"))?;
        let loaded = hypervisor.restore(&spec, saved.dir()).await;
        loaded.map_err(Failure::monitor("loading the saved state"))
    };
    let vm = attempt
        .step("restore", "loading the saved state", None, load)
        .await?;
    match finish(&mut attempt, vm.clone()).await {
        Ok(unique) => Ok(unique),
        Err(failure) => {
            if let Err(e) = vm.kill().await {
                error!(log, "the monitor of a failed restore may still run";
                    "pid" => vm.process().pid, "error" => chain(&e));
            }
            Err(failure)
        }
    }
}

async fn finish(attempt: &mut Attempt<'_>, vm: Arc<dyn Vm>) -> Result<Unique, Failure> {
    let watched = Some(vm.as_ref());
    let paused = Paused(vm.clone());
    let resume = paused.resume();
    let running = attempt
        .step("resume", "resuming the vCPUs", watched, resume)
        .await?;
    let connect = running.connect(attempt.patience.most());
    let connected = attempt.step(
        "connect",
        "connecting to the guest's agent",
        watched,
        connect,
    );
    let connected = connected.await?;
    let unique = connected.make_unique();
    attempt
        .step(
            "reseed and clock",
            "making the clone unique",
            watched,
            unique,
        )
        .await
}

//! Restoring a clone within its budget, or leaving nothing of it.

use std::{
    error::Error,
    future::Future,
    io,
    sync::Arc,
    time::{Duration, Instant},
};

use hypervisors::{Hypervisor, Vm, VmSpec};
use slog::{Logger, error};

use super::{
    chain,
    record::Phases,
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
    #[error("not ready within {budget:?}, while {step}")]
    Late {
        step: &'static str,
        budget: Duration,
    },
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
    began: Instant,
    budget: Duration,
    phases: &'a mut Phases,
}

impl Attempt<'_> {
    fn left(&self) -> Duration {
        self.budget.saturating_sub(self.began.elapsed())
    }

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
            () = expired(self.left()) => {
                return Err(Failure::Late { step, budget: self.budget });
            }
        };
        self.phases.mark(phase);
        Ok(done)
    }
}

async fn expired(after: Duration) {
    // Nothing else can end the wait: the future never completes.
    let _ = tokio::time::timeout(after, std::future::pending::<()>()).await;
}

/// Makes a unique clone of `template`. On a failure no process of it is left.
pub(super) async fn restore(
    template: &Template,
    hypervisor: &dyn Hypervisor,
    spec: &VmSpec,
    budget: Duration,
    phases: &mut Phases,
    log: &Logger,
) -> Result<Unique, Failure> {
    let spec = template.clone_spec(spec);
    let mut attempt = Attempt {
        began: Instant::now(),
        budget,
        phases,
    };
    let load = async {
        let loaded = hypervisor.restore(&spec, template.dir()).await;
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
    let connect = running.connect(attempt.left());
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

//! Restores a clone within the timeout. If that fails, nothing of it is left.

use std::{error::Error, future::Future, io, sync::Arc, time::Duration};

use hypervisors::{Vm, VmSpec};
use slog::error;
use system::error::chain;

use super::{
    run::Start,
    timeline::{StartStep, Steps},
    timeout::Timeout,
    unique::{Paused, Unique},
};
use crate::template::Template;

/// Why there is no clone.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Failure {
    #[error("{step}: {cause}")]
    Step { step: &'static str, cause: String },
    #[error("VMM ended while {step}: {last_words}")]
    Ended {
        step: &'static str,
        last_words: String,
    },
    #[error("Timed out after {timeout:?}{} while {step}", stretched(*waited))]
    Late {
        step: &'static str,
        timeout: Duration,
        waited: Option<Duration>,
    },
}

/// Says that the wait was longer than the timeout, if it was, and why.
fn stretched(waited: Option<Duration>) -> String {
    waited.map_or_else(String::new, |waited| {
        format!(" (stretched to {waited:.1?} on a busy node)")
    })
}

impl Failure {
    fn step<E: Error>(step: &'static str) -> impl FnOnce(E) -> Self {
        move |error| Self::Step {
            step,
            cause: chain(&error),
        }
    }

    pub(super) fn vmm(step: &'static str) -> impl FnOnce(hypervisors::Error) -> Self {
        Self::step(step)
    }

    pub(super) fn agent(step: &'static str) -> impl FnOnce(agent_client::Error) -> Self {
        Self::step(step)
    }

    pub(super) fn host(step: &'static str) -> impl FnOnce(io::Error) -> Self {
        Self::step(step)
    }
}

/// A restore that is running: its timeout, and where its steps are recorded.
struct Attempt<'a, 'b> {
    within: Duration,
    timeout: Timeout,
    steps: &'a mut Steps<'b>,
}

impl Attempt<'_, '_> {
    /// Takes one step, unless the timeout or the VMM ends first.
    async fn step<T>(
        &mut self,
        done: StartStep,
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
        let value = tokio::select! {
            biased;
            value = work => value?,
            exit = ended => return Err(Failure::Ended { step, last_words: exit.last_words }),
            () = self.timeout.over() => {
                let waited = self.timeout.waited();
                return Err(Failure::Late { step, timeout: self.within, waited });
            }
        };
        self.steps.mark(done);
        Ok(value)
    }
}

/// Makes a unique clone of `template`. On a failure no process of it is left.
pub(super) async fn restore(
    template: &Template,
    start: &Start<'_>,
    spec: &VmSpec,
    steps: &mut Steps<'_>,
) -> Result<Unique, Failure> {
    let spec = template.clone_spec(spec);
    let timeouts = start.request.timeouts;
    let mut attempt = Attempt {
        within: timeouts.restore,
        timeout: Timeout::begin(timeouts.restore, timeouts.max_stretch),
        steps,
    };
    const LOADING: &str = "loading the saved state";
    let load = async {
        let loaded = start.vmm.restore(&spec, template.dir()).await;
        loaded.map_err(Failure::vmm(LOADING))
    };
    let vm = attempt
        .step(StartStep::Restore, LOADING, None, load)
        .await?;
    match finish(&mut attempt, vm.clone()).await {
        Ok(unique) => Ok(unique),
        Err(failure) => {
            if let Err(e) = vm.kill().await {
                error!(start.log, "VMM of a failed restore not killed";
                    "pid" => vm.process().pid, "error" => chain(&e));
            }
            Err(failure)
        }
    }
}

async fn finish(attempt: &mut Attempt<'_, '_>, vm: Arc<dyn Vm>) -> Result<Unique, Failure> {
    let watched = Some(vm.as_ref());
    let paused = Paused(vm.clone());
    let resume = paused.resume();
    let running = attempt
        .step(StartStep::Resume, "resuming the vCPUs", watched, resume)
        .await?;
    let connect = running.connect(attempt.timeout.most());
    let connected = attempt.step(
        StartStep::Connect,
        "connecting to the guest's agent",
        watched,
        connect,
    );
    let unique = connected.await?.make_unique();
    attempt
        .step(
            StartStep::Unique,
            "making the clone unique",
            watched,
            unique,
        )
        .await
}

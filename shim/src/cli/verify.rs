//! The truth about a template: its memory read in full, and a VM restored from it and ended.

use std::{path::PathBuf, sync::Arc};

use factory::{StartPath, StartPlan, StartRecord, Template};
use hypervisors::{Hypervisor, VmSpec};
use slog::Logger;
use system::error::chain;

use crate::setup::Setup;

/// How the restore that was tried went, or why the template cannot be relied on.
pub(crate) async fn verify(
    setup: &Setup,
    hypervisor: &dyn Hypervisor,
    spec: &VmSpec,
    template: Template,
    log: &Logger,
) -> Result<StartRecord, String> {
    let template = Arc::new(template);
    let to_read = template.clone();
    let read = tokio::task::spawn_blocking(move || to_read.verify_memory()).await;
    read.map_err(|error| chain(&error))?
        .map_err(|unfit| unfit.to_string())?;
    let Some(template) = Arc::into_inner(template) else {
        return Err("The template is still being read".to_owned());
    };

    let run_dir = RunDir::make(setup.run_dir())?;
    let spec = VmSpec {
        id: "imprint-verify".to_owned(),
        run_dir: run_dir.0.clone(),
        ..spec.clone()
    };
    try_restore(setup, hypervisor, &spec, template, log).await
}

async fn try_restore(
    setup: &Setup,
    hypervisor: &dyn Hypervisor,
    spec: &VmSpec,
    template: Template,
    log: &Logger,
) -> Result<StartRecord, String> {
    let plan = StartPlan::Restore(Box::new(template));
    let started = factory::start(plan, hypervisor, spec, setup.budgets(), log).await;
    let started = started.map_err(|error| chain(&error))?;
    started.vm.kill().await.map_err(|error| chain(&error))?;
    match started.record.path {
        StartPath::Restored => Ok(started.record),
        StartPath::Booted => Err(started.record.reason),
    }
}

/// A VM's run directory, which goes with the value.
pub(crate) struct RunDir(pub(crate) PathBuf);

impl RunDir {
    pub(crate) fn make(path: PathBuf) -> Result<Self, String> {
        system::directory::ensure(&path, 0o700)
            .map_err(|error| format!("Making {}: {error}", path.display()))?;
        Ok(Self(path))
    }
}

impl Drop for RunDir {
    fn drop(&mut self) {
        if let Err(error) = std::fs::remove_dir_all(&self.0) {
            eprintln!("imprint: left behind: {}: {error}", self.0.display());
        }
    }
}

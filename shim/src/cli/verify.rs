//! The truth about a template: its memory read in full, and a VM restored from it and ended.

use std::{os::unix::fs::DirBuilderExt, path::Path, sync::Arc};

use factory::{StartPath, StartPlan, StartRecord, Template, chain};
use hypervisors::Hypervisor;
use slog::Logger;

use crate::setup::Setup;

/// How the restore that was tried went, or why the template cannot be relied on.
pub(crate) async fn verify(
    setup: &Setup,
    hypervisor: &dyn Hypervisor,
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

    let run_dir = setup.run_dir();
    let made = std::fs::DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(&run_dir);
    made.map_err(|error| format!("Making {}: {error}", run_dir.display()))?;
    let tried = try_restore(setup, hypervisor, template, log).await;
    remove(&run_dir);
    tried
}

async fn try_restore(
    setup: &Setup,
    hypervisor: &dyn Hypervisor,
    template: Template,
    log: &Logger,
) -> Result<StartRecord, String> {
    let plan = StartPlan::Restore(Box::new(template));
    let started = factory::start(plan, hypervisor, &setup.spec(), setup.budgets(), log).await;
    let started = started.map_err(|error| chain(&error))?;
    started.vm.kill().await.map_err(|error| chain(&error))?;
    match started.record.path {
        StartPath::Restored => Ok(started.record),
        StartPath::Booted => Err(started.record.reason),
    }
}

fn remove(run_dir: &Path) {
    if let Err(error) = std::fs::remove_dir_all(run_dir) {
        eprintln!("imprint: left behind: {}: {error}", run_dir.display());
    }
}

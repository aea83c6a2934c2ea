//! The truth about a template: its memory read in full, and a VM restored from it and ended.

use std::path::PathBuf;

use factory::start::{FirstImage, Start, StartPath, StartReport, Survey, Timeline};
use hypervisors::{Hypervisor, VmSpec};
use slog::Logger;
use system::error::chain;

use crate::setup::Setup;

/// How the restore of the template that `survey` found went, or why it cannot be relied on.
pub(crate) async fn verify(
    setup: &Setup,
    vmm: &dyn Hypervisor,
    spec: &VmSpec,
    survey: Survey,
    log: &Logger,
) -> Result<StartReport, String> {
    if let Some(template) = survey.template().cloned() {
        let read = tokio::task::spawn_blocking(move || template.verify_memory()).await;
        read.map_err(|error| chain(&error))?
            .map_err(|unusable| unusable.to_string())?;
    }
    let run_dir = RunDir::make(setup.run_dir())?;
    let request = setup.request(VmSpec {
        id: "imprint-verify".to_owned(),
        run_dir: run_dir.0.clone(),
        ..spec.clone()
    });
    let start = Start {
        request: &request,
        vmm,
        log,
    };
    let mut timeline = Timeline::begin();
    let started = start.run(survey, FirstImage::none(), &mut timeline).await;
    let started = started.map_err(|error| chain(&error))?;
    started.vm.kill().await.map_err(|error| chain(&error))?;
    match started.report.path {
        StartPath::Restored => Ok(started.report),
        StartPath::Booted => Err(started.report.reason),
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

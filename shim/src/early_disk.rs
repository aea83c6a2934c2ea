//! The first container's root disk, plugged into a clone before it resumes.
//!
//! A guest takes some 90 ms to find a plugged disk, about as long as a clone takes to become unique.
//! Plugged while the clone is still paused, the disk is found by the time it is asked for.

use std::{
    path::Path,
    sync::{Arc, Mutex, PoisonError},
};

use async_trait::async_trait;
use hypervisors::{
    Capabilities, DiskSpec, Hypervisor, Identity, PciPath, Result, Vm, VmSpec, VmmProcess,
};
use slog::{Logger, debug};

/// A disk that may be ready before its VM is.
#[derive(Debug, Default)]
pub struct EarlyDisk {
    ready: Mutex<Option<DiskSpec>>,
    plugged: Mutex<Option<(VmmProcess, PciPath)>>,
}

impl EarlyDisk {
    /// Says that the disk can be plugged from now on.
    pub fn ready(&self, disk: DiskSpec) {
        *self.ready.lock().unwrap_or_else(PoisonError::into_inner) = Some(disk);
    }

    /// Where the disk is, if it was plugged into this very VM.
    pub fn place_in(&self, vm: &dyn Vm) -> Option<PciPath> {
        let plugged = self.plugged.lock().unwrap_or_else(PoisonError::into_inner);
        let (process, place) = plugged.as_ref()?;
        (*process == vm.process()).then(|| place.clone())
    }

    /// Plugs the disk if it is ready. It is plugged later where this fails.
    async fn plug(&self, vm: &dyn Vm, log: &Logger) {
        let ready = self
            .ready
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone();
        let Some(disk) = ready else { return };
        match vm.add_disk(&disk).await {
            Ok(place) => {
                let plugged = Some((vm.process(), place));
                *self.plugged.lock().unwrap_or_else(PoisonError::into_inner) = plugged;
            }
            Err(error) => debug!(log, "disk is plugged later"; "error" => %error),
        }
    }
}

/// A monitor whose clones have the disk when they resume.
pub struct PluggedEarly<'a> {
    /// The monitor.
    pub monitor: &'a dyn Hypervisor,
    /// The disk.
    pub disk: &'a EarlyDisk,
    /// Hears of what did not work.
    pub log: &'a Logger,
}

#[async_trait]
impl Hypervisor for PluggedEarly<'_> {
    fn capabilities(&self) -> &Capabilities {
        self.monitor.capabilities()
    }

    fn identity(&self) -> &Identity {
        self.monitor.identity()
    }

    async fn boot(&self, spec: &VmSpec) -> Result<Arc<dyn Vm>> {
        self.monitor.boot(spec).await
    }

    async fn restore(&self, spec: &VmSpec, saved: &Path) -> Result<Arc<dyn Vm>> {
        let vm = self.monitor.restore(spec, saved).await?;
        self.disk.plug(vm.as_ref(), self.log).await;
        Ok(vm)
    }
}

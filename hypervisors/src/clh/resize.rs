//! A VM that grows while it runs. It never shrinks.

use std::{fs, path::Path};

use tokio::sync::Mutex;

use super::{api::calls::VmResize, launch::Vmm, vm_config::MEMORY_STEP_MIB};
use crate::{Error, MemoryBacking, Result, VmSpec};

/// How large a VM is, and how far it may grow.
#[derive(Debug)]
pub struct Growth {
    max_vcpus: u32,
    /// `None` where memory is in a file, beside which none can be hot-plugged.
    max_mib: Option<u32>,
    now: Mutex<Now>,
}

#[derive(Debug, Clone, Copy)]
struct Now {
    vcpus: u32,
    mib: u32,
}

impl Growth {
    /// That of a VM as it was started.
    pub fn new(spec: &VmSpec) -> Self {
        let grows = spec.memory.backing == MemoryBacking::Anonymous;
        Self {
            max_vcpus: spec.max_vcpus,
            max_mib: grows.then_some(spec.memory.max_mib),
            now: Mutex::new(Now {
                vcpus: spec.vcpus,
                mib: spec.memory.mib,
            }),
        }
    }

    /// Hot-plugs vCPUs until there are so many.
    pub async fn resize_vcpus(&self, vmm: &Vmm, vcpus: u32) -> Result<()> {
        let refused = |reason| refused(format!("resize to {vcpus} vCPUs"), reason);
        let mut now = self.now.lock().await;
        if vcpus < now.vcpus {
            let has = now.vcpus;
            return Err(refused(format!("it has {has}, and a VM does not shrink")));
        }
        if vcpus > self.max_vcpus {
            let most = self.max_vcpus;
            return Err(refused(format!("it was started with a limit of {most}")));
        }
        if vcpus == now.vcpus {
            return Ok(());
        }
        let resize = VmResize {
            desired_vcpus: Some(vcpus),
            ..VmResize::default()
        };
        vmm.call(&resize).await?;
        now.vcpus = vcpus;
        Ok(())
    }

    /// Hot-plugs memory, and returns how many MiB there are then.
    pub async fn resize_memory(&self, vmm: &Vmm, mib: u32) -> Result<u32> {
        let refused = |reason| refused(format!("resize to {mib} MiB"), reason);
        let mut now = self.now.lock().await;
        let has = now.mib;
        if mib < has {
            return Err(refused(format!(
                "it has {has} MiB, and a VM does not shrink"
            )));
        }
        let Some(most) = self.max_mib else {
            let reason = "its memory is in a file, beside which none can be hot-plugged";
            return Err(refused(String::from(reason)));
        };
        let after = has + (mib - has).next_multiple_of(MEMORY_STEP_MIB);
        if after > most {
            return Err(refused(format!(
                "it grows in steps of {MEMORY_STEP_MIB} MiB to a limit of {most} MiB"
            )));
        }
        if after == has {
            return Ok(has);
        }
        let resize = VmResize {
            desired_ram: Some(u64::from(after) << 20),
            ..VmResize::default()
        };
        vmm.call(&resize).await?;
        now.mib = after;
        Ok(after)
    }
}

/// The VMM's threads that run vCPUs: it calls them `vcpu0`, `vcpu1` and so on.
pub fn vcpu_threads(pid: u32) -> Result<Vec<u32>> {
    let path = Path::new("/proc").join(pid.to_string()).join("task");
    let failed = |source| Error::Io {
        action: "Reading",
        path: path.clone(),
        source,
    };
    let mut threads = Vec::new();
    for entry in fs::read_dir(&path).map_err(failed)? {
        let entry = entry.map_err(failed)?;
        let thread = entry.file_name().to_str().and_then(|id| id.parse().ok());
        // A thread that has ended meanwhile is none.
        let name = fs::read_to_string(entry.path().join("comm")).unwrap_or_default();
        if let (Some(thread), Some(vcpu)) = (thread, vcpu(&name)) {
            threads.push((vcpu, thread));
        }
    }
    threads.sort_unstable();
    Ok(threads.into_iter().map(|(_, thread)| thread).collect())
}

fn vcpu(name: &str) -> Option<u32> {
    name.trim_end().strip_prefix("vcpu")?.parse().ok()
}

fn refused(request: String, reason: String) -> Error {
    Error::Refused { request, reason }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn vcpus_are_known_by_their_threads_names() {
        assert_eq!(vcpu("vcpu12\n"), Some(12));
        assert_eq!(vcpu("vcpu\n"), None);
        assert_eq!(vcpu("vmm\n"), None);
    }
}

//! What the configured Cloud Hypervisor is: it is started without a VM and asked.

use std::path::Path;

use serde::{Deserialize, Serialize};
use slog::warn;
use system::{directory, error::chain, loop_device};

use super::{
    Clh, ClhConfig,
    api::calls::{VmmPing, VmmShutdown},
    arguments,
    launch::{Program, Vmm},
    paths::Sockets,
    version::Version,
};
use crate::{
    Capabilities, Error, Identity, Machine, Result, VmmKind, host_cpu,
    probe_cache::{Key, read, replace},
};

/// Changes whenever a saved VM of the previous layout could not be restored any more.
const LAYOUT: u32 = 4;

/// What is cached of a probe.
#[derive(Debug, Serialize, Deserialize)]
struct CachedProbe {
    key: Key,
    version: String,
}

/// Probes the configured VMM, or takes what an earlier probe of this host boot found.
pub async fn probe(config: ClhConfig, log: &slog::Logger) -> Result<Clh> {
    let unusable = |reason: String| Error::Unusable {
        binary: config.binary.clone(),
        reason,
    };
    let binary = config
        .binary
        .canonicalize()
        .map_err(|error| unusable(error.to_string()))?;
    let version = version_of(&config, &binary, log)
        .await
        .map_err(|error| unusable(chain(&error)))?;
    let parsed: Version = version
        .parse()
        .map_err(|error| unusable(format!("it calls itself by a version, but {error}")))?;
    if let Some(why) = parsed.obstacle() {
        return Err(unusable(why));
    }
    Ok(Clh {
        version: parsed,
        capabilities: capabilities(),
        identity: identity(&config, &binary, version),
        config,
        log: log.clone(),
    })
}

async fn version_of(config: &ClhConfig, binary: &Path, log: &slog::Logger) -> Result<String> {
    let key = Key::new(binary);
    let cache = config.probe_cache.as_deref();
    if let Some(cached) = cache.and_then(read::<CachedProbe>)
        && key.as_ref() == Some(&cached.key)
    {
        return Ok(cached.version);
    }
    let version = ask(config, binary, log).await?;
    if let (Some(cache), Some(key)) = (cache, key) {
        let entry = CachedProbe {
            key,
            version: version.clone(),
        };
        if let Err(error) = replace(cache, &entry) {
            warn!(log, "cannot cache the probe's result; the next start probes again";
                "path" => %cache.display(), "error" => %error);
        }
    }
    Ok(version)
}

/// Also finds out whether it can use KVM here: without, it ends at once and says why.
async fn ask(config: &ClhConfig, binary: &Path, log: &slog::Logger) -> Result<String> {
    let dir = PrivateDir::new()?;
    let sockets = Sockets::within(&dir.0);
    let arguments = arguments::arguments(config);
    let program = Program {
        binary,
        arguments: &arguments,
        vm: "probe",
    };
    let vmm = Vmm::start(program, sockets, None, log).await?;
    let answer = vmm.call(&VmmPing).await;
    if answer.is_ok() {
        // It is killed below if it does not end by itself.
        let _ = vmm.call(&VmmShutdown).await;
    }
    vmm.process().kill().await?;
    Ok(answer?.version)
}

/// Where the socket of a VMM without a VM is.
struct PrivateDir(std::path::PathBuf);

impl PrivateDir {
    fn new() -> Result<Self> {
        let own = system::process::own_number_or_id();
        let name = format!("imprint-probe-{own}-{}", unique());
        let path = std::env::temp_dir().join(name);
        directory::make_single(&path, directory::PRIVATE).map_err(|source| Error::Io {
            action: "Making",
            path: path.clone(),
            source,
        })?;
        Ok(Self(path))
    }
}

impl Drop for PrivateDir {
    fn drop(&mut self) {
        // The VMM's socket in it is gone with the VMM.
        let _ = std::fs::remove_dir(&self.0);
    }
}

/// A number that no other probe of this process has.
fn unique() -> u64 {
    use std::sync::atomic::{AtomicU64, Ordering};
    static NEXT: AtomicU64 = AtomicU64::new(0);
    NEXT.fetch_add(1, Ordering::Relaxed)
}

/// The same for all versions that are used. No version says what it was built with.
fn capabilities() -> Capabilities {
    Capabilities {
        vcpu_hotplug: true,
        memory_hotplug_beside_file: false,
        disk_slots: loop_device::are_available(),
        private_file_restore: true,
    }
}

fn identity(config: &ClhConfig, binary: &Path, version: String) -> Identity {
    let landlock = match &config.landlock {
        None => String::from("off"),
        Some(below) => format!("{below:?}"),
    };
    Identity {
        vmm: VmmKind::Clh.id(),
        binary: binary.to_owned(),
        version,
        machine: Machine {
            accelerator: String::from("kvm"),
            agent_channel: String::from("hybrid-vsock"),
            debug_console: config.debug_console.is_some(),
            layout: LAYOUT,
            nested: Some(config.nested),
            landlock: Some(landlock),
            ..Machine::default()
        },
        cpu: format!("host on {}", host_cpu::describe()),
    }
}

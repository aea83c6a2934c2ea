//! What the configured Cloud Hypervisor is: it is started without a VM and asked.

use std::path::Path;

use serde::{Deserialize, Serialize};
use slog::warn;

use super::{
    Clh, ClhConfig,
    api::calls::{VmmPing, VmmShutdown},
    arguments,
    launch::{Monitor, Program, Sockets},
    version::Version,
};
use crate::{
    Capabilities, Error, Identity, Result, host_cpu,
    kept::{Key, read, replace},
    loop_device,
};

/// Changes whenever a saved VM of the previous layout could not be restored any more.
const LAYOUT: u32 = 4;

/// What is kept of a probe.
#[derive(Debug, Serialize, Deserialize)]
struct Kept {
    key: Key,
    version: String,
}

/// Probes the configured monitor, or takes what an earlier probe of this host boot found.
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
        .map_err(|error| unusable(error.chain()))?;
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
    let key = Key::of(binary);
    let cache = config.probe_cache.as_deref();
    if let Some(kept) = cache.and_then(read::<Kept>)
        && key.as_ref() == Some(&kept.key)
    {
        return Ok(kept.version);
    }
    let version = ask(config, binary, log).await?;
    if let (Some(cache), Some(key)) = (cache, key) {
        let kept = Kept {
            key,
            version: version.clone(),
        };
        if let Err(error) = replace(cache, &kept) {
            warn!(log, "the probe's result could not be kept; the next start probes again";
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
    let monitor = Monitor::start(program, sockets, None, log).await?;
    let answer = monitor.call(&VmmPing).await;
    if answer.is_ok() {
        // It is killed below if it does not end by itself.
        let _ = monitor.call(&VmmShutdown).await;
    }
    monitor.process().kill().await?;
    Ok(answer?.version)
}

/// Where the socket of a monitor without a VM is.
struct PrivateDir(std::path::PathBuf);

impl PrivateDir {
    fn new() -> Result<Self> {
        use std::os::unix::fs::DirBuilderExt;
        let own = system::process::own_number_or_id();
        let name = format!("imprint-probe-{own}-{}", unique());
        let path = std::env::temp_dir().join(name);
        std::fs::DirBuilder::new()
            .mode(0o700)
            .create(&path)
            .map_err(|source| Error::Io {
                action: "Making",
                path: path.clone(),
                source,
            })?;
        Ok(Self(path))
    }
}

impl Drop for PrivateDir {
    fn drop(&mut self) {
        // The monitor's socket in it is gone with the monitor.
        let _ = std::fs::remove_dir(&self.0);
    }
}

/// A number that no other probe of this process has.
fn unique() -> u64 {
    use std::sync::atomic::{AtomicU64, Ordering};
    static NEXT: AtomicU64 = AtomicU64::new(0);
    NEXT.fetch_add(1, Ordering::Relaxed)
}

/// The same for all versions that are used. None tells what it was built with.
fn capabilities() -> Capabilities {
    Capabilities {
        disk_hotplug: true,
        net_hotplug: true,
        vcpu_hotplug: true,
        memory_hotplug: true,
        memory_hotplug_beside_file: false,
        disk_slots: loop_device::are_there(),
        private_file_restore: true,
    }
}

fn identity(config: &ClhConfig, binary: &Path, version: String) -> Identity {
    let on = |choice: bool| if choice { "on" } else { "off" };
    Identity {
        monitor: "clh",
        binary: binary.to_owned(),
        version,
        machine: format!(
            "accel=kvm,channel=hybrid-vsock,nested={},landlock={},console={},layout={LAYOUT}",
            on(config.nested),
            match &config.landlock {
                None => String::from("off"),
                Some(below) => format!("{below:?}"),
            },
            on(config.debug_console.is_some()),
        ),
        cpu: format!("host on {}", host_cpu::describe()),
    }
}

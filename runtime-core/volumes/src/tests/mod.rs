//! Volumes of real directories, for a guest that is a directory too.

mod disks;
mod guest;
mod parts;
mod providing;
mod reading;
mod table;
mod updates;
mod vm;

use std::{
    fs,
    os::unix::fs::symlink,
    path::{Path, PathBuf},
    sync::Arc,
};

use agent_client::oci as wire;
use config::VolumeSettings;
use nix::{
    mount::{MsFlags, mount as mount_host},
    sched::{CloneFlags, unshare},
};
use oci::{Bundle, ContainerKind, GuestSpec, SpecOptions, guest_spec};
use slog::{Discard, Logger, o};
use tempfile::TempDir;

use super::{Provided, VolumeError, Volumes};
use guest::Guest;
use vm::FakeVm;

fn settings() -> VolumeSettings {
    VolumeSettings::default()
}

/// A node with a kubelet's directory, and a sandbox on it.
struct Fixture {
    dir: TempDir,
    guest: Guest,
    vm: Arc<FakeVm>,
    volumes: Volumes,
}

impl Fixture {
    async fn new() -> Self {
        Self::with(settings()).await
    }

    async fn with(settings: VolumeSettings) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let (guest, vm) = (Guest::new(), FakeVm::new());
        let settings = VolumeSettings {
            kubelet_root: dir.path().join("kubelet"),
            ..settings
        };
        let log = Logger::root(Discard, o!());
        let agent = guest.connect().await;
        let volumes = Volumes::new(
            ("pod".into(), Some("6c8f".into())),
            settings,
            agent,
            vm.clone(),
            log,
        );
        Self {
            dir,
            guest,
            vm,
            volumes,
        }
    }

    /// Makes a directory of the pod in kubelet's.
    fn pod(&self, path: &str) -> PathBuf {
        let path = self.dir.path().join("kubelet/pods/6c8f").join(path);
        fs::create_dir_all(&path).unwrap();
        path
    }

    fn host(&self, path: &str, content: &str) -> PathBuf {
        let path = self.dir.path().join(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(&path, content).unwrap();
        path
    }

    /// Provides the mounts of a container, each `(source, destination, options)`.
    async fn provide(
        &self,
        container: &str,
        mounts: &[(&Path, &str, &str)],
    ) -> Result<(Provided, wire::Spec), VolumeError> {
        let mut spec = spec(container, mounts, "{}");
        let provided = self.volumes.provide(container, &mut spec).await?;
        Ok((provided, spec.finish().unwrap()))
    }
}

fn spec(container: &str, mounts: &[(&Path, &str, &str)], linux: &str) -> GuestSpec {
    let mounts: Vec<_> = mounts
        .iter()
        .map(|(source, destination, options)| {
            let options: Vec<_> = options.split(',').collect();
            serde_json::json!({
                "type": "bind", "source": source, "destination": destination, "options": options,
            })
        })
        .collect();
    let linux: serde_json::Value = serde_json::from_str(linux).unwrap();
    let spec = serde_json::json!({
        "ociVersion": "1.0.2",
        "root": {"path": "rootfs"},
        "process": {"cwd": "/", "args": ["sh"], "user": {"uid": 0, "gid": 0}},
        "mounts": mounts,
        "linux": linux,
    });
    let bundle = Bundle {
        path: "/bundle".into(),
        spec: serde_json::from_value(spec).unwrap(),
    };
    let options = SpecOptions {
        guest_seccomp: false,
    };
    guest_spec(
        &bundle,
        container,
        &ContainerKind::SingleContainer,
        "/r",
        options,
    )
    .unwrap()
}

/// Replaces the content of a volume as kubelet does: a new directory, then one rename.
fn publish(volume: &Path, version: &str, files: &[(&str, &str)]) {
    fs::create_dir(volume.join(version)).unwrap();
    for (name, content) in files {
        fs::write(volume.join(version).join(name), content).unwrap();
    }
    let before = fs::read_link(volume.join("..data")).ok();
    symlink(version, volume.join("..data_tmp")).unwrap();
    fs::rename(volume.join("..data_tmp"), volume.join("..data")).unwrap();
    for (name, _) in files {
        let link = volume.join(name);
        if !link.is_symlink() {
            symlink(Path::new("..data").join(name), link).unwrap();
        }
    }
    if let Some(before) = before {
        fs::remove_dir_all(volume.join(before)).unwrap();
    }
}

/// Source of the mount at `destination` in the guest.
fn source<'a>(spec: &'a wire::Spec, destination: &str) -> &'a str {
    &mount(spec, destination).source
}

fn mount<'a>(spec: &'a wire::Spec, destination: &str) -> &'a wire::Mount {
    spec.Mounts
        .iter()
        .find(|mount| mount.destination == destination)
        .unwrap()
}

/// Runs `work` on a thread with mounts of its own, so that a failed test leaves none behind. Says
/// so where that is not possible.
fn with_own_mounts(work: impl FnOnce() + Send + 'static) {
    if !nix::unistd::geteuid().is_root() {
        eprintln!("SKIPPED: only root can mount");
        return;
    }
    let apart = || {
        unshare(CloneFlags::CLONE_NEWNS).unwrap();
        let (none, flags) = (None::<&str>, MsFlags::MS_REC | MsFlags::MS_PRIVATE);
        mount_host(none, "/", none, flags, none).unwrap();
        work();
    };
    std::thread::spawn(apart).join().unwrap();
}

fn mount_memory(path: &Path) {
    let (kind, flags) = (Some("tmpfs"), MsFlags::empty());
    mount_host(kind, path, kind, flags, None::<&str>).unwrap();
}

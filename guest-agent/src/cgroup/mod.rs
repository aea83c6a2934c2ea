//! A container's cgroup (version 2).

mod devices;
mod oom;
mod stats;

use std::{
    fs, io,
    path::{Path, PathBuf},
    time::Duration,
};

use futures::StreamExt;
use inotify::{Inotify, WatchMask};
use libcgroups::common::{CgroupConfig, CgroupManager, ControllerOpt, create_cgroup_manager};
use oci_spec::runtime::LinuxResources;
use serde_json::Value;
use tokio::time::timeout;

pub use self::{
    devices::{DeviceRules, check_confinement, confine, prepare},
    stats::{network, statistics},
};
use crate::error::{Doing, Error, Result};

/// Where the hierarchy is mounted.
const ROOT: &str = "/sys/fs/cgroup";
/// How long processes may take to freeze or thaw. One in an uninterruptible wait takes longer.
const FREEZE_TIMEOUT: Duration = Duration::from_secs(5);

/// A container's cgroup, which has all its processes.
#[derive(Debug, Clone)]
pub struct Group {
    /// Absolute path below the root cgroup.
    name: String,
    directory: PathBuf,
}

/// The path below the root cgroup that a specification's `cgroupsPath` asks for; `/id` without one.
///
/// systemd's form `slice:prefix:name` becomes `/slice/prefix-name`.
///
/// # Errors
///
/// When the path is empty or would leave the hierarchy.
pub fn group_path(wanted: &str, id: &str) -> Result<String> {
    let path = match wanted.split(':').collect::<Vec<_>>()[..] {
        [slice, prefix, name] => format!("{slice}/{prefix}-{name}"),
        _ if wanted.is_empty() => id.to_owned(),
        _ => wanted.to_owned(),
    };
    let parts: Vec<&str> = path.split('/').filter(|part| !part.is_empty()).collect();
    if parts.is_empty() || parts.iter().any(|part| *part == "." || *part == "..") {
        return Err(Error::Invalid(format!(
            "{wanted:?} cannot be the path of a cgroup"
        )));
    }
    Ok(format!("/{}", parts.join("/")))
}

impl Group {
    /// The group at a path that [`group_path`] has returned. It need not exist yet.
    pub fn new(name: String) -> Self {
        let directory = Path::new(ROOT).join(name.trim_start_matches('/'));
        Self { name, directory }
    }

    /// Freezes (`true`) or thaws (`false`) all processes of the group, and waits until they are.
    ///
    /// # Errors
    ///
    /// When that takes more than 5 seconds, or the kernel refuses.
    pub async fn freeze(&self, frozen: bool) -> Result<()> {
        let events = self.directory.join("cgroup.events");
        let mut buffer = [0; 1024];
        let watch = Inotify::init().doing(|| "make an inotify instance".into())?;
        watch
            .watches()
            .add(&events, WatchMask::MODIFY)
            .on("watch", &events)?;
        let mut changes = watch.into_event_stream(&mut buffer).on("watch", &events)?;

        self.write("cgroup.freeze", if frozen { "1" } else { "0" })?;
        let wanted = u64::from(frozen);
        let settled = async {
            while stats::read_keyed(&events)?.get("frozen") != Some(&wanted) {
                let _change = changes.next().await;
            }
            Ok(())
        };
        timeout(FREEZE_TIMEOUT, settled)
            .await
            .unwrap_or_else(|_elapsed| {
                Err(Error::Timeout {
                    event: format!("\"frozen {wanted}\" in {}", events.display()),
                    after: FREEZE_TIMEOUT,
                })
            })
    }

    /// Kills all processes of the group, frozen ones too. Returns `false` in a hierarchy of version
    /// 1, which cannot do that.
    ///
    /// # Errors
    ///
    /// When the kernel refuses.
    pub fn kill(&self) -> Result<bool> {
        match fs::write(self.directory.join("cgroup.kill"), "1") {
            Ok(()) => Ok(true),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
            Err(error) => Err(error).on("kill the processes in", &self.directory),
        }
    }

    /// Changes the limits of the group. `resources` has the form of `linux.resources` in an OCI
    /// configuration.
    ///
    /// # Errors
    ///
    /// When a limit is invalid, or the kernel refuses one; limits set before it stay changed.
    pub fn update(&self, resources: Value) -> Result<()> {
        let refused = |reason: String| Error::Runtime {
            doing: format!("change the limits of {}", self.name),
            reason,
        };
        let resources: LinuxResources =
            serde_json::from_value(resources).map_err(|error| refused(error.to_string()))?;
        let group = create_cgroup_manager(CgroupConfig {
            cgroup_path: self.name.clone().into(),
            systemd_cgroup: false,
            container_name: String::new(),
        })
        .map_err(|error| refused(error.to_string()))?;
        let changes = ControllerOpt {
            resources: &resources,
            disable_oom_killer: false,
            oom_score_adj: None,
            freezer_state: None,
        };
        group
            .apply(&changes)
            .map_err(|error| refused(error.to_string()))
    }

    fn write(&self, file: &str, value: &str) -> Result<()> {
        let path = self.directory.join(file);
        fs::write(&path, value).on("write", &path)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn group_paths_stay_below_the_root() {
        for (wanted, path) in [
            ("/k8s.io/abc", "/k8s.io/abc"),
            ("", "/id"),
            ("a//b/", "/a/b"),
            (
                "kubepods.slice:cri-containerd:abc",
                "/kubepods.slice/cri-containerd-abc",
            ),
        ] {
            assert_eq!(group_path(wanted, "id").unwrap(), path, "{wanted}");
        }
        for wanted in ["/", "../x", "/a/../../b", "a:..:b/../.."] {
            assert!(group_path(wanted, "id").is_err(), "{wanted}");
        }
    }
}

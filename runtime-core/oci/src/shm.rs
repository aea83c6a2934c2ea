//! Decides whether a container's `/dev/shm` is the sandbox's shared memory or a mount of its own.

use std::path::Path;

use agent_client::{agent::Storage, oci as wire};
use oci_spec::runtime as host;

use super::{GUEST_SANDBOX, bind};

/// Path of shared memory in a container.
const SHM: &str = "/dev/shm";

/// Options of the `/dev/shm` that containerd gives to a container by default.
pub const DEFAULT_SHM_OPTIONS: [&str; 5] =
    ["nosuid", "noexec", "nodev", "mode=1777", "size=65536k"];

/// Options that do not change what is mounted.
const NEUTRAL: [&str; 3] = ["rw", "rprivate", "private"];

/// The sandbox's shared memory for CreateSandbox, with the size that containerd gives it.
pub fn sandbox_shm_storage() -> Storage {
    Storage {
        driver: "ephemeral".to_owned(),
        source: "shm".to_owned(),
        fstype: "tmpfs".to_owned(),
        options: DEFAULT_SHM_OPTIONS.map(str::to_owned).to_vec(),
        mount_point: format!("{GUEST_SANDBOX}/shm"),
        ..Default::default()
    }
}

/// A mount of the sandbox's shared memory, if `mount` means that: the directory that containerd
/// made for the sandbox, the host's own (of a pod in the host's IPC namespace), or the one that
/// every container has by default.
pub(super) fn sandbox_shm(mount: &host::Mount, sandbox_id: &str) -> Option<wire::Mount> {
    if mount.destination() != Path::new(SHM) {
        return None;
    }
    let options = mount.options().as_deref().unwrap_or_default();
    let meant = match mount.source() {
        Some(source) if bind::is_bind(mount) => {
            let of_sandbox = source.iter().any(|part| part == sandbox_id);
            source == Path::new(SHM) || of_sandbox && source.ends_with("shm")
        }
        _ => mount.typ().as_deref() == Some("tmpfs") && is_default(options),
    };
    meant.then(|| wire::Mount {
        destination: SHM.to_owned(),
        source: format!("{GUEST_SANDBOX}/shm"),
        type_: "bind".to_owned(),
        options: bind::bind_options(options),
        ..Default::default()
    })
}

fn is_default(options: &[String]) -> bool {
    let mut given: Vec<&str> = options.iter().map(String::as_str).collect();
    given.retain(|option| !NEUTRAL.contains(option));
    let mut default = DEFAULT_SHM_OPTIONS;
    given.sort_unstable();
    default.sort_unstable();
    given == default
}

#[cfg(test)]
mod tests {
    use super::*;

    fn decided(json: &str) -> Option<wire::Mount> {
        sandbox_shm(&serde_json::from_str(json).unwrap(), "0a1b")
    }

    #[test]
    fn the_sandboxs_is_what_containerd_means_by_it() {
        for json in [
            r#"{"destination": "/dev/shm", "type": "bind", "options": ["rbind", "ro"],
                "source": "/run/containerd/io.containerd.grpc.v1.cri/sandboxes/0a1b/shm"}"#,
            r#"{"destination": "/dev/shm/", "type": "bind", "source": "/dev/shm",
                "options": ["rbind", "rw"]}"#,
            r#"{"destination": "/dev/shm", "type": "tmpfs", "source": "shm",
                "options": ["nosuid", "noexec", "nodev", "mode=1777", "size=65536k"]}"#,
        ] {
            let mount = decided(json).unwrap();
            assert_eq!(mount.source, "/run/kata-containers/sandbox/shm");
            let read_only = json.contains("\"ro\"");
            assert_eq!(
                mount.options.contains(&"ro".to_owned()),
                read_only,
                "{json}"
            );
        }
    }

    #[test]
    fn it_is_as_read_only_and_as_private_as_was_asked_for() {
        for options in ["rbind,rro,rprivate", "rbind,ro,rslave", "rbind,rshared"] {
            let given: Vec<_> = options.split(',').collect();
            let mount = serde_json::json!({
                "destination": "/dev/shm", "type": "bind", "source": "/dev/shm", "options": given,
            });
            assert_eq!(decided(&mount.to_string()).unwrap().options, given);
        }
    }

    #[test]
    fn anything_else_is_what_it_says() {
        for json in [
            r#"{"destination": "/dev/shm", "type": "tmpfs", "source": "shm",
                "options": ["size=256m"]}"#,
            r#"{"destination": "/dev/shm", "type": "tmpfs", "source": "shm",
                "options": ["nosuid"]}"#,
            r#"{"destination": "/dev/shm", "type": "bind", "source": "/srv/shm",
                "options": ["rbind"]}"#,
            r#"{"destination": "/dev/shm", "type": "bind", "options": ["rbind"],
                "source": "/var/lib/kubelet/pods/1/volumes/kubernetes.io~empty-dir/shm"}"#,
            r#"{"destination": "/x", "type": "bind", "source": "/dev/shm", "options": ["rbind"]}"#,
        ] {
            assert_eq!(decided(json), None, "{json}");
        }
    }
}

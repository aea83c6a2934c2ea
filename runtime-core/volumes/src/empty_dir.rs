//! `emptyDir` volumes: made in the guest, found there by name by every container of the pod.

use std::path::Path;

use agent_client::agent::{CopyFileRequest, Storage};
use oci::{GUEST_SANDBOX, GUEST_SHARED};

use super::{
    classify::{Way, shared_path},
    look::Facts,
};

const DIRECTORY: u32 = 0o040_000;
const PARENT_MODE: u32 = 0o755;

/// What the agent is told for an `emptyDir`.
#[derive(Debug, Default, PartialEq)]
pub(super) struct Making {
    /// Path in the guest.
    pub(super) path: String,
    /// Directories to make before the container is created.
    pub(super) directories: Vec<CopyFileRequest>,
    /// Storages of the container. They are marked as shared, so that they outlive it: an init
    /// container leaves files to the others.
    pub(super) storages: Vec<Storage>,
}

/// How an `emptyDir` is made. `facts` are those of kubelet's directory, which has the owner and the
/// mode that the pod asked for (fsGroup). `huge_limit`: bytes of its pages that the container may use.
pub(super) fn making(way: &Way, sandbox: &str, facts: &Facts, huge_limit: Option<u64>) -> Making {
    match way {
        Way::Memory { name, bytes } => {
            let mut options = owner(facts);
            options.extend(bytes.map(|bytes| format!("size={bytes}")));
            mounted(name, "tmpfs", "tmpfs", options)
        }
        Way::HugePages { name, page_bytes } => {
            let mut options = owner(facts);
            options.push(format!("pagesize={page_bytes}"));
            options.extend(huge_limit.map(|bytes| format!("size={bytes}")));
            mounted(name, "nodev", "hugetlbfs", options)
        }
        Way::Scratch { name } => {
            let path = shared_path(GUEST_SHARED, sandbox, name);
            let directories = vec![directory(&path, facts)];
            Making {
                path,
                directories,
                storages: Vec::new(),
            }
        }
        _ => Making::default(),
    }
}

/// The same for a part of the volume. What the guest has there is what the container gets, a file too;
/// kubelet, which sees none of that, has made a directory of these `facts`, and so does the guest's agent
/// where there is nothing. It looks each time: containers that have the whole volume can change it.
pub(super) fn part(mut whole: Making, part: &Path, facts: &Facts) -> Making {
    whole.path = format!("{}/{}", whole.path, part.to_string_lossy());
    whole.storages.push(Storage {
        driver: "local".to_owned(),
        source: "local".to_owned(),
        fstype: "local".to_owned(),
        options: owner(facts),
        mount_point: whole.path.clone(),
        shared: true,
        ..Default::default()
    });
    whole
}

fn mounted(name: &str, source: &str, fs_type: &str, options: Vec<String>) -> Making {
    let path = format!("{GUEST_SANDBOX}/ephemeral/{name}");
    let storage = Storage {
        driver: "ephemeral".to_owned(),
        source: source.to_owned(),
        fstype: fs_type.to_owned(),
        options,
        mount_point: path.clone(),
        shared: true,
        ..Default::default()
    };
    Making {
        path,
        directories: Vec::new(),
        storages: vec![storage],
    }
}

fn owner(facts: &Facts) -> Vec<String> {
    vec![
        format!("mode={:04o}", facts.mode),
        format!("uid={}", facts.uid),
        format!("gid={}", facts.gid),
    ]
}

fn directory(path: &str, facts: &Facts) -> CopyFileRequest {
    CopyFileRequest {
        path: path.to_owned(),
        file_mode: DIRECTORY | facts.mode,
        dir_mode: PARENT_MODE,
        uid: facts.uid.cast_signed(),
        gid: facts.gid.cast_signed(),
        ..Default::default()
    }
}

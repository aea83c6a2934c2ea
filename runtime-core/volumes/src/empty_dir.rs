//! `emptyDir` volumes, which are made in the guest and shared by the pod's containers.

use std::path::Path;

use agent_client::agent::{CopyFileRequest, Storage};
use oci::{GUEST_SANDBOX, GUEST_SHARED};

use super::{
    classify::{Way, shared_path},
    source::Facts,
};

const DIRECTORY: u32 = 0o040_000;
const PARENT_MODE: u32 = 0o755;

/// The messages by which the agent makes an `emptyDir`.
#[derive(Debug, Default, PartialEq)]
pub(super) struct EmptyDir {
    /// Path in the guest.
    pub(super) path: String,
    /// Directories to make before the container is created.
    pub(super) directories: Vec<CopyFileRequest>,
    /// Storages of the container. They are marked as shared, so they outlive it: an init container
    /// leaves files for the others.
    pub(super) storages: Vec<Storage>,
}

/// A whole `emptyDir`. `facts` are those of kubelet's directory, which has the owner and the mode
/// that the pod asked for (fsGroup). `huge_limit`: bytes of huge pages that the container may use.
pub(super) fn whole(way: &Way, sandbox: &str, facts: &Facts, huge_limit: Option<u64>) -> EmptyDir {
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
            EmptyDir {
                path,
                directories,
                storages: Vec::new(),
            }
        }
        _ => EmptyDir::default(),
    }
}

/// A part of the volume. The container gets what the guest has at that path, also a file. If there
/// is nothing, the agent makes a directory with these `facts`, as kubelet has made one on the node.
/// The agent checks this each time, since containers with the whole volume can change it.
pub(super) fn part(mut whole: EmptyDir, part: &Path, facts: &Facts) -> EmptyDir {
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

fn mounted(name: &str, source: &str, fs_type: &str, options: Vec<String>) -> EmptyDir {
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
    EmptyDir {
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

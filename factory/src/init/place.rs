//! The place in which templates are made: the directory, its tmpfs, and what is there already.

use std::{io, path::PathBuf};

use system::memory;

use super::InitError;
use crate::{
    layout::{MANIFEST, MEMORY},
    mount::{self, Mounted},
    private_files,
    store::TemplateStore,
};

/// Room on the tmpfs beside each memory file, in MiB: the VMM's state (some 350 KiB), sockets, the
/// manifest and the record of failures.
const HEADROOM_MIB: u64 = 16;

/// Refuses templates that the node has no memory for, before the kernel kills other processes to
/// make room. If it is not known how much is left, nothing is refused.
pub(super) fn check_memory(mib: u64) -> Result<(), InitError> {
    match memory::available().map(|bytes| bytes >> 20) {
        Some(available_mib) if available_mib < mib => {
            Err(InitError::NoMemory { mib, available_mib })
        }
        _ => Ok(()),
    }
}

/// Makes the directories above the template path.
pub(super) fn make_parents(store: &TemplateStore) -> Result<(), InitError> {
    let Some(parent) = store.path().parent() else {
        return Ok(());
    };
    system::directory::ensure(parent, 0o700).map_err(InitError::io("Making", parent))
}

/// The templates that are there and may be replaced.
pub(super) fn existing(store: &TemplateStore, replace: bool) -> Result<Vec<PathBuf>, InitError> {
    let found = store.list().unwrap_or_default();
    if !found.is_empty() && !replace {
        return Err(InitError::AlreadyThere {
            path: store.path().to_owned(),
        });
    }
    let dirs = std::fs::read_dir(store.path())
        .into_iter()
        .flatten()
        .flatten();
    let dirs = dirs
        .map(|entry| entry.path())
        .filter(|dir| dir.join(MANIFEST).exists());
    Ok(if found.is_empty() {
        Vec::new()
    } else {
        dirs.collect()
    })
}

/// Makes sure that the tmpfs is there and has room for `count` templates with `memory_mib` in all,
/// and for the `old` ones. Returns whether it was mounted now.
pub(super) async fn prepare(
    store: &TemplateStore,
    memory_mib: u64,
    count: usize,
    old: &[PathBuf],
) -> Result<bool, InitError> {
    let path = store.path();
    let held: u64 = old
        .iter()
        .filter_map(|dir| dir.join(MEMORY).metadata().ok()?.len().into())
        .sum();
    let headroom = HEADROOM_MIB * (old.len() + count) as u64;
    let mib = held.div_ceil(1024 * 1024) + memory_mib + headroom;
    match mount::mounted(path).map_err(InitError::io("Inspecting", path))? {
        Mounted::Foreign => Err(store
            .unusable("another file system is mounted there")
            .into()),
        Mounted::Ours => {
            store.clear_unfinished().await?;
            mount::resize_tmpfs(path, mib).map_err(InitError::io("Resizing", path))?;
            Ok(false)
        }
        Mounted::Nothing => {
            make_mount_point(store)?;
            mount::mount_tmpfs(path, mib).map_err(|source| {
                // It is empty, as it was made or found above.
                let _ = std::fs::remove_dir(path);
                InitError::io("Mounting a tmpfs on", path)(source)
            })?;
            Ok(true)
        }
    }
}

fn make_mount_point(store: &TemplateStore) -> Result<(), InitError> {
    let path = store.path();
    match private_files::make_dir(path) {
        Err(e) if e.kind() == io::ErrorKind::AlreadyExists => {}
        other => return other.map_err(InitError::io("Making", path)),
    }
    let kind = path
        .symlink_metadata()
        .map_err(InitError::io("Inspecting", path))?;
    if !kind.is_dir() {
        return Err(store.unusable("it is not a directory").into());
    }
    let mut entries = std::fs::read_dir(path).map_err(InitError::io("Reading", path))?;
    match entries.next() {
        None => Ok(()),
        Some(_) => Err(store.unusable("the directory is not empty").into()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn more_memory_than_the_node_has_left_is_refused() {
        assert!(check_memory(1).is_ok());
        let refused = check_memory(1 << 40).unwrap_err().to_string();
        assert!(
            refused.contains("takes 1099511627776 MiB of the node's"),
            "{refused}"
        );
    }
}

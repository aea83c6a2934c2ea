//! Volumes whose content is replaced in one step: the link `..data` points to a directory beside it
//! with the current version, and every other name is a link into `..data`.
//!
//! The API has no call that removes a file. Without this, each change of a Secret would leave the
//! previous version in the guest, readable and in memory.

use std::{
    ffi::{OsStr, OsString},
    fs,
    os::{
        fd::{AsRawFd, OwnedFd},
        unix::ffi::OsStrExt,
    },
    path::{Path, PathBuf},
};

/// The link that is replaced.
const CURRENT: &str = "..data";

/// Removes the version that `link` pointed to before it was replaced, and the links that are now
/// dangling. What cannot be removed stays: the volume is right without that.
pub fn remove_old(directory: &OwnedFd, link: &str, before: &OsStr) {
    if link != CURRENT || !is_version(before) {
        return;
    }
    // By descriptor: the path may be that of another directory by now.
    let root = PathBuf::from(format!("/proc/self/fd/{}", directory.as_raw_fd()));
    let _stays = fs::remove_dir_all(root.join(before));
    for name in dangling(&root) {
        let _stays = fs::remove_file(root.join(name));
    }
}

/// Whether this is a name in the same directory such as kubelet gives to versions.
fn is_version(name: &OsStr) -> bool {
    let bytes = name.as_bytes();
    bytes.len() > 2 && bytes.starts_with(b"..") && !bytes.contains(&b'/') && name != CURRENT
}

fn dangling(root: &Path) -> Vec<OsString> {
    let entries = fs::read_dir(root).into_iter().flatten().flatten();
    entries
        .map(|entry| entry.file_name())
        .filter(|name| {
            let path = root.join(name);
            let is_link = fs::read_link(&path).is_ok_and(|to| to.starts_with(CURRENT));
            is_link && fs::metadata(path).is_err()
        })
        .collect()
}

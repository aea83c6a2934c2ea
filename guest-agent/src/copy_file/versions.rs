//! Volumes whose content is replaced in one step: a link `..data` leads to a directory beside it that
//! holds the current version, and every other name is a link through `..data`.
//!
//! The API has no call that removes a file. Without this each change of a Secret would leave the
//! version before in the guest, in memory and in sight.

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

/// Removes what `link`, now replaced, led to before, and the links that lead nowhere since. What
/// cannot be removed stays: the volume itself is right.
pub fn tidy(directory: &OwnedFd, link: &str, before: &OsStr) {
    if link != CURRENT || !is_version(before) {
        return;
    }
    // The directory's own descriptor: its path may lead elsewhere by now.
    let root = PathBuf::from(format!("/proc/self/fd/{}", directory.as_raw_fd()));
    let _stays = fs::remove_dir_all(root.join(before));
    for name in dangling(&root) {
        let _stays = fs::remove_file(root.join(name));
    }
}

/// A name in the same directory, as kubelet gives them to versions.
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
            let through = fs::read_link(&path).is_ok_and(|to| to.starts_with(CURRENT));
            through && fs::metadata(path).is_err()
        })
        .collect()
}

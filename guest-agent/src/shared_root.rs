//! The agent's directory as a shared mount.
//!
//! What a container mounts on a volume below it reaches the other containers that ask for
//! propagation, as on a node whose root is a shared mount.

use std::{fs, io, path::Path};

use nix::{
    errno::Errno,
    mount::{MntFlags, MsFlags, mount, umount2},
};

use crate::error::{Doing, Result};

/// Makes `root` an empty directory and a shared mount; removes what is there.
pub fn begin(root: &Path) -> Result<()> {
    end(root)?;
    match fs::remove_dir_all(root) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => {
            return Err(error).on("remove", root);
        }
        _ => {}
    }
    fs::create_dir_all(root).on("create", root)?;
    let none = None::<&str>;
    mount(Some(root), root, none, MsFlags::MS_BIND, none).on("bind", root)?;
    change(root, MsFlags::MS_SHARED).on("share the mounts below", root)
}

/// Unmounts `root` and everything that is mounted below it.
///
/// # Errors
///
/// When the kernel refuses. `root` is then still mounted.
pub fn end(root: &Path) -> Result<()> {
    let private = MsFlags::MS_PRIVATE | MsFlags::MS_REC;
    loop {
        match change(root, private) {
            Ok(()) => {}
            // Not a mount point any more, or removed.
            Err(Errno::EINVAL | Errno::ENOENT) => return Ok(()),
            Err(errno) => return Err(errno).on("make a private mount of", root),
        }
        let flags = MntFlags::UMOUNT_NOFOLLOW | MntFlags::MNT_DETACH;
        umount2(root, flags).on("unmount", root)?;
    }
}

/// Changes the propagation. The kernel refuses unless `root` is a mount point.
fn change(root: &Path, to: MsFlags) -> nix::Result<()> {
    mount(None::<&str>, root, None::<&str>, to, None::<&str>)
}

//! The agent's directory as a mount of its own that is shared: what a container mounts on a volume
//! below it can reach the others that ask for that, as on a node whose root is shared.

use std::{fs, io, path::Path};

use nix::{
    errno::Errno,
    mount::{MntFlags, MsFlags, mount, umount2},
};

use crate::error::{Doing, Result};

/// Makes an empty directory of what may be a full one.
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

/// Lets go of the mount, with all that is mounted below it.
///
/// # Errors
///
/// When the kernel refuses: it is still mounted.
pub fn end(root: &Path) -> Result<()> {
    let alone = MsFlags::MS_PRIVATE | MsFlags::MS_REC;
    loop {
        match change(root, alone) {
            Ok(()) => {}
            // No mount point any more, or nothing at all.
            Err(Errno::EINVAL | Errno::ENOENT) => return Ok(()),
            Err(errno) => return Err(errno).on("make a private mount of", root),
        }
        let flags = MntFlags::UMOUNT_NOFOLLOW | MntFlags::MNT_DETACH;
        umount2(root, flags).on("unmount", root)?;
    }
}

/// Refused for what is no mount point.
fn change(root: &Path, to: MsFlags) -> nix::Result<()> {
    mount(None::<&str>, root, None::<&str>, to, None::<&str>)
}

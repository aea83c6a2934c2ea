//! The tmpfs that templates lie on. Its source name in the mount table identifies it.

use std::{io, path::Path};

use nix::mount::{MntFlags, MsFlags, mount, umount2};
use system::mounts::{self, Mount};

/// Source name in the mount table.
const SOURCE: &str = "imprint-template";

/// What is mounted at a path.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Mounted {
    /// The path is no mount point.
    Nothing,
    /// A tmpfs made by [`mount_tmpfs`].
    Ours,
    /// Some other file system.
    Foreign,
}

/// Mounts a tmpfs of at most `mib` MiB, closed to other users.
pub(crate) fn mount_tmpfs(at: &Path, mib: u64) -> io::Result<()> {
    Ok(mount(
        Some(SOURCE),
        at,
        Some("tmpfs"),
        flags(),
        Some(options(mib).as_str()),
    )?)
}

/// Changes the limit of a mounted tmpfs.
pub(crate) fn resize_tmpfs(at: &Path, mib: u64) -> io::Result<()> {
    let flags = flags() | MsFlags::MS_REMOUNT;
    Ok(mount(
        Some(SOURCE),
        at,
        Some("tmpfs"),
        flags,
        Some(options(mib).as_str()),
    )?)
}

fn flags() -> MsFlags {
    MsFlags::MS_NOSUID | MsFlags::MS_NODEV | MsFlags::MS_NOEXEC
}

fn options(mib: u64) -> String {
    format!("size={mib}M,mode=0700")
}

/// Unmounts every template tmpfs at `at`. A mount that is in use (a clone maps the memory, a shell
/// is in the directory) is detached: the path is free at once, and the memory when the last user
/// ends.
pub(crate) fn unmount(at: &Path) -> io::Result<()> {
    while mounted(at)? == Mounted::Ours {
        match umount2(at, MntFlags::UMOUNT_NOFOLLOW) {
            Err(nix::Error::EBUSY) => {
                umount2(at, MntFlags::UMOUNT_NOFOLLOW | MntFlags::MNT_DETACH)?;
            }
            other => other?,
        }
    }
    Ok(())
}

/// What is mounted at `at`. A path that does not exist has nothing mounted.
pub(crate) fn mounted(at: &Path) -> io::Result<Mounted> {
    let at = match at.canonicalize() {
        Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(Mounted::Nothing),
        other => other?,
    };
    Ok(seen(&mounts::all()?, &at))
}

fn seen(mounts: &[Mount], at: &Path) -> Mounted {
    match mounts::at(mounts, at) {
        None => Mounted::Nothing,
        Some(mount) if mount.kind == "tmpfs" && mount.source == SOURCE => Mounted::Ours,
        Some(_) => Mounted::Foreign,
    }
}

/// Whether this process sees other mounts than process 1: a template made here may then be
/// invisible to the shims. `None` if process 1 may not be inspected.
pub fn in_foreign_mount_namespace() -> Option<bool> {
    let first = std::fs::read_link("/proc/1/ns/mnt").ok()?;
    let own = std::fs::read_link("/proc/self/ns/mnt").ok()?;
    Some(first != own)
}

#[cfg(test)]
mod tests {
    use super::*;

    const TABLE: &[u8] = b"\
24 1 0:22 / /run rw,nosuid shared:5 - tmpfs tmpfs rw,size=800k
30 24 0:30 / /run/a\\040b rw,nosuid - tmpfs imprint-template rw,size=80m
31 24 0:31 / /run/stack rw - tmpfs imprint-template rw
32 24 0:32 / /run/stack rw - ext4 /dev/vda rw
";

    #[test]
    fn the_mount_table_is_read_by_path_kind_and_source() {
        let mounts = mounts::parse(TABLE);
        let at = |path: &str| seen(&mounts, Path::new(path));
        assert_eq!(at("/run"), Mounted::Foreign);
        assert_eq!(at("/run/a b"), Mounted::Ours);
        assert_eq!(at("/run/stack"), Mounted::Foreign);
        assert_eq!(at("/run/none"), Mounted::Nothing);
    }

    #[test]
    fn a_missing_path_has_nothing_mounted() {
        assert_eq!(
            mounted(Path::new("/nonexistent/x")).unwrap(),
            Mounted::Nothing
        );
        assert_eq!(mounted(Path::new("/proc")).unwrap(), Mounted::Foreign);
    }
}

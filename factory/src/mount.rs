//! The tmpfs a template lives on, told from every other mount by its source name.

use std::{ffi::OsString, io, os::unix::ffi::OsStringExt, path::Path};

use nix::mount::{MntFlags, MsFlags, mount, umount2};

/// Source name in the mount table.
const SOURCE: &str = "imprint-template";

/// What lies at a path.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Mounted {
    /// No mount point.
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
/// stands in it) is detached: it disappears from the tree, and for good with its last user.
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
    Ok(top_mount(&std::fs::read("/proc/self/mountinfo")?, &at))
}

/// Form of the table: proc_pid_mountinfo(5). The last mount at a path is the one that is seen.
fn top_mount(table: &[u8], at: &Path) -> Mounted {
    let mut mounts = table.split(|byte| *byte == b'\n').filter_map(|line| {
        let mut fields = line.split(|byte| *byte == b' ');
        let point = unescape(fields.nth(4)?);
        let mut source = fields.skip_while(|field| *field != b"-").skip(1);
        let (kind, name) = (source.next()?, source.next()?);
        let ours = kind == b"tmpfs" && name == SOURCE.as_bytes();
        (Path::new(&point) == at).then_some(if ours {
            Mounted::Ours
        } else {
            Mounted::Foreign
        })
    });
    mounts.next_back().unwrap_or(Mounted::Nothing)
}

/// Blank, tab, newline and backslash are written as a backslash and three octal digits.
fn unescape(field: &[u8]) -> OsString {
    let mut bytes = Vec::with_capacity(field.len());
    let mut rest = field;
    while let Some((&byte, after)) = rest.split_first() {
        let code = after
            .get(..3)
            .and_then(|digits| std::str::from_utf8(digits).ok());
        match code.and_then(|digits| u8::from_str_radix(digits, 8).ok()) {
            Some(code) if byte == b'\\' => {
                bytes.push(code);
                rest = &after[3..];
            }
            _ => {
                bytes.push(byte);
                rest = after;
            }
        }
    }
    OsString::from_vec(bytes)
}

/// Whether this process sees other mounts than process 1: a template made here may then be
/// invisible to the shims. `None` where that may not be known (no right to look at process 1).
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
short line
";

    #[test]
    fn the_mount_table_is_read_by_path_kind_and_source() {
        assert_eq!(top_mount(TABLE, Path::new("/run")), Mounted::Foreign);
        assert_eq!(top_mount(TABLE, Path::new("/run/a b")), Mounted::Ours);
        assert_eq!(top_mount(TABLE, Path::new("/run/stack")), Mounted::Foreign);
        assert_eq!(top_mount(TABLE, Path::new("/run/none")), Mounted::Nothing);
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

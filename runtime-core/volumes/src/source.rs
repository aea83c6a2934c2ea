//! The source of a mount on the host: its type and the file system that it is on.

use std::{
    ffi::{CStr, CString},
    fs::{self, File},
    io,
    os::{
        fd::{AsFd, AsRawFd, OwnedFd},
        unix::fs::OpenOptionsExt,
    },
    path::{Path, PathBuf},
    sync::Arc,
};

use rustix::fs::{FileType, Mode, OFlags, Stat, fstat, fstatfs, open, readlinkat};
use tokio::task::spawn_blocking;

use super::VolumeError;

/// kubelet's name for the current content of a volume that it writes: a link to a directory beside
/// it, which is replaced in one step.
pub(super) const CURRENT: &CStr = c"..data";

/// The type of a mount's source.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    File,
    Directory,
    /// A block device, with its device number.
    Block(u64),
    /// Something without content, with its name for an error.
    Special(&'static str),
}

/// The file system that a source is on, if that matters.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum FileSystem {
    /// Memory of the host, with its size limit in bytes; 0 for none.
    Tmpfs(u64),
    /// Huge pages of this many bytes.
    Hugetlbfs(u64),
    Other,
}

/// The attributes of a source, read from its descriptor.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Facts {
    pub(super) kind: Kind,
    pub(super) file_system: FileSystem,
    /// Whether its content is replaced in one step, as kubelet does.
    pub(super) versioned: bool,
    /// Permission bits, without the type.
    pub(super) mode: u32,
    pub(super) uid: u32,
    pub(super) gid: u32,
}

/// An open source, which cannot be replaced by another any more.
#[derive(Debug, Clone)]
pub(super) struct Source {
    pub(super) path: PathBuf,
    /// Path with links resolved.
    pub(super) real: PathBuf,
    /// Descriptor that was opened with `O_PATH`.
    pub(super) handle: Arc<OwnedFd>,
    /// Device and inode: two binds with the same share their content.
    pub(super) identity: (u64, u64),
    pub(super) facts: Facts,
}

const TMPFS_MAGIC: u64 = 0x0102_1994;
const HUGETLBFS_MAGIC: u64 = 0x9584_58f6;

impl Source {
    /// Opens the source of a bind mount. Links in its path are followed, as by mount(2), but not
    /// those below the source.
    pub(super) fn open(path: &Path) -> Result<Self, VolumeError> {
        let fail = |source: rustix::io::Errno| VolumeError::io("Opening", path)(source);
        let handle = open(path, OFlags::PATH | OFlags::CLOEXEC, Mode::empty()).map_err(fail)?;
        let stat = fstat(&handle).map_err(fail)?;
        let facts = facts(&stat, &handle).map_err(fail)?;
        let pinned = format!("/proc/self/fd/{}", handle.as_raw_fd());
        let real = fs::read_link(pinned).map_err(VolumeError::io("Resolving", path))?;
        Ok(Self {
            path: path.to_owned(),
            real,
            handle: Arc::new(handle),
            identity: (stat.st_dev, stat.st_ino),
            facts,
        })
    }

    /// A path to the open source, whatever is at its own path now.
    pub(super) fn pinned_path(&self) -> PathBuf {
        PathBuf::from(format!("/proc/self/fd/{}", self.handle.as_raw_fd()))
    }

    /// Opens the file for reading, and for writing if `write` is set.
    pub(super) fn reopen(&self, write: bool) -> io::Result<File> {
        File::options()
            .read(true)
            .write(write)
            .custom_flags(nix::libc::O_NONBLOCK | nix::libc::O_NOCTTY)
            .open(self.pinned_path())
    }
}

fn facts(stat: &Stat, handle: &OwnedFd) -> rustix::io::Result<Facts> {
    let system = fstatfs(handle)?;
    let block = u64::try_from(system.f_bsize).unwrap_or_default();
    // Its C type differs between architectures.
    #[allow(clippy::unnecessary_cast)]
    let file_system = match system.f_type as u64 & 0xffff_ffff {
        TMPFS_MAGIC => FileSystem::Tmpfs(system.f_blocks.saturating_mul(block)),
        HUGETLBFS_MAGIC => FileSystem::Hugetlbfs(block),
        _ => FileSystem::Other,
    };
    Ok(Facts {
        kind: match FileType::from_raw_mode(stat.st_mode) {
            FileType::RegularFile => Kind::File,
            FileType::Directory => Kind::Directory,
            FileType::BlockDevice => Kind::Block(stat.st_rdev),
            FileType::CharacterDevice => Kind::Special("a character device"),
            FileType::Socket => Kind::Special("a socket"),
            FileType::Fifo => Kind::Special("a fifo"),
            _ => Kind::Special("no file"),
        },
        file_system,
        versioned: current(handle).is_some(),
        mode: stat.st_mode & 0o7777,
        uid: stat.st_uid,
        gid: stat.st_gid,
    })
}

/// The target of [`CURRENT`], if that is a name in the same directory.
pub(super) fn current(root: impl AsFd) -> Option<CString> {
    let to = readlinkat(root, CURRENT, Vec::new()).ok()?;
    let name = to.to_bytes();
    (name.starts_with(b"..") && name.len() > 2 && !name.contains(&b'/')).then_some(to)
}

/// Whether an open directory is on a tmpfs.
pub(super) fn is_tmpfs(handle: &OwnedFd) -> rustix::io::Result<bool> {
    // Its C type differs between architectures.
    #[allow(clippy::unnecessary_cast)]
    let kind = fstatfs(handle)?.f_type as u64 & 0xffff_ffff;
    Ok(kind == TMPFS_MAGIC)
}

/// Runs `work` on a thread that may block, since a path of the host may hang. `path` names it in an
/// error.
pub(super) async fn blocking<T: Send + 'static>(
    path: &Path,
    work: impl FnOnce() -> Result<T, VolumeError> + Send + 'static,
) -> Result<T, VolumeError> {
    let path = path.to_owned();
    spawn_blocking(work)
        .await
        .unwrap_or(Err(VolumeError::Ended { path }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_source_is_what_was_opened() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("file");
        fs::write(&path, "one").unwrap();
        let source = Source::open(&path).unwrap();
        fs::remove_file(&path).unwrap();
        std::os::unix::fs::symlink("/etc/passwd", &path).unwrap();
        assert_eq!(source.facts.kind, Kind::File);
        assert_eq!(
            io::read_to_string(source.reopen(false).unwrap()).unwrap(),
            "one"
        );
        assert_eq!(
            Source::open(Path::new("/dev/null")).unwrap().facts.kind,
            Kind::Special("a character device")
        );
    }
}

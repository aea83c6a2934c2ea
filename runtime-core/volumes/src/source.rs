//! Looks at a mount's source on the host: what it is and which file system it is on.

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
use system::mounts::{self, Mount};
use tokio::task::spawn_blocking;

use super::{
    VolumeError,
    kubelet::{self, CSI, Place},
    owner::Owner,
};

/// kubelet's name for the current content of a volume it wrote: a link to a directory beside it,
/// replaced in one step.
pub(super) const CURRENT: &CStr = c"..data";

/// What a mount's source is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    File,
    Directory,
    /// A block device, with its device number.
    Block(u64),
    /// Nothing that has content of its own.
    Special(&'static str),
}

/// The file system a source is on, as far as it matters.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum FileSystem {
    /// Memory of the host, with the size it was given in bytes; 0 for none.
    Tmpfs(u64),
    /// Huge pages of this many bytes.
    Hugetlbfs(u64),
    Other,
}

/// Facts about a source, from its descriptor alone.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Facts {
    pub(super) kind: Kind,
    pub(super) file_system: FileSystem,
    /// Its content is replaced in one step, as kubelet does it.
    pub(super) versioned: bool,
    /// Permission bits.
    pub(super) mode: u32,
    pub(super) uid: u32,
    pub(super) gid: u32,
}

/// A source that was opened, and that cannot be exchanged for another any more.
#[derive(Debug, Clone)]
pub(super) struct Source {
    pub(super) path: PathBuf,
    /// Where it leads, links resolved.
    pub(super) real: PathBuf,
    /// Opened with `O_PATH`.
    pub(super) handle: Arc<OwnedFd>,
    /// Device and inode: two binds with the same share their content.
    pub(super) identity: (u64, u64),
    pub(super) facts: Facts,
}

const TMPFS_MAGIC: u64 = 0x0102_1994;
const HUGETLBFS_MAGIC: u64 = 0x9584_58f6;

impl Source {
    /// Opens the source of a bind mount. Links on the way are followed, as mount(2) does; nothing
    /// below the source is.
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

    /// Path by which the kernel finds the opened source, whatever its name leads to by now.
    pub(super) fn pinned_path(&self) -> PathBuf {
        PathBuf::from(format!("/proc/self/fd/{}", self.handle.as_raw_fd()))
    }

    /// The file itself, to be read or written to.
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

/// Where [`CURRENT`] leads, if that is a name in the same directory.
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

/// A volume of the pod that something is a part of.
#[derive(Debug)]
pub(super) struct Whole {
    pub(super) plugin: String,
    pub(super) volume: Source,
    /// Path of the part within.
    pub(super) part: PathBuf,
}

/// The volume `name` of the pod that holds what kubelet has bound at `subpath`. Several may have that
/// name, and a path of the host may too: the name of a PersistentVolume is another's to choose.
pub(super) fn whole_of(
    kubelet_root: &Path,
    owner: &Owner,
    subpath: &Source,
    name: &str,
) -> Result<Option<Whole>, VolumeError> {
    let plugins = kubelet::pod_volumes(kubelet_root, &subpath.path).map(fs::read_dir);
    let Some(Ok(plugins)) = plugins else {
        return Ok(None);
    };
    let inner = within_file_system(subpath)?;
    for directory in plugins.flatten() {
        let Ok(plugin) = directory.file_name().into_string() else {
            continue;
        };
        let mut path = directory.path().join(name);
        if plugin == CSI {
            path.push("mount");
        }
        if !path.is_dir() {
            continue;
        }
        let volume = Source::open(&path)?;
        let is_own = matches!(
            owner.place(kubelet_root, &path, &volume.real),
            Some(Place::Volume { .. })
        );
        if is_own && let Some(part) = part_within(&within_file_system(&volume)?, &inner) {
            return Ok(Some(Whole {
                plugin,
                volume,
                part,
            }));
        }
    }
    Ok(None)
}

/// The path of `inner` within `outer`, each with the device of its file system.
fn part_within(outer: &(String, PathBuf), inner: &(String, PathBuf)) -> Option<PathBuf> {
    let part = inner.1.strip_prefix(&outer.1).ok()?;
    (outer.0 == inner.0).then(|| part.to_owned())
}

/// Device of the file system that a source is on, and its path within: bind mounts of one
/// directory have the same.
fn within_file_system(source: &Source) -> Result<(String, PathBuf), VolumeError> {
    located(source).map_err(VolumeError::io("Locating", &source.path))
}

fn located(source: &Source) -> io::Result<(String, PathBuf)> {
    let info = fs::read_to_string(format!(
        "/proc/self/fdinfo/{}",
        source.handle.as_fd().as_raw_fd()
    ))?;
    let id = info.lines().find_map(|line| line.strip_prefix("mnt_id:"));
    let id = id.and_then(|id| id.trim().parse().ok());
    let id = id.ok_or_else(|| io::Error::other("its mount is not known"))?;
    let real = fs::read_link(source.pinned_path())?;
    locate(&mounts::all()?, id, &real)
        .ok_or_else(|| io::Error::other("its mount is not in the table"))
}

fn locate(mounts: &[Mount], id: u64, path: &Path) -> Option<(String, PathBuf)> {
    let mount = mounts.iter().find(|mount| mount.id == id)?;
    let below = path.strip_prefix(&mount.point).ok()?;
    Some((mount.device.clone(), mount.root.join(below)))
}

/// Looks on a thread of its own: a host's path may hang.
pub(super) async fn aside<T: Send + 'static>(
    path: &Path,
    look: impl FnOnce() -> Result<T, VolumeError> + Send + 'static,
) -> Result<T, VolumeError> {
    let path = path.to_owned();
    spawn_blocking(look)
        .await
        .unwrap_or(Err(VolumeError::Ended { path }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn mounts_are_located_within_their_file_system() {
        let table = b"21 1 8:1 / / rw - ext4 /dev/sda1 rw\n\
                     40 21 8:1 /k/v/data\\040x/sub /k/subpaths/v/c/0 rw - ext4 /dev/sda1 rw\n";
        let table = mounts::parse(table);
        let volume = locate(&table, 21, Path::new("/k/v/data x")).unwrap();
        let part = locate(&table, 40, Path::new("/k/subpaths/v/c/0")).unwrap();
        assert_eq!(volume.0, part.0);
        assert_eq!(part_within(&volume, &part), Some("sub".into()));
        let of_other_disk = ("8:2".to_owned(), part.1.clone());
        assert_eq!(part_within(&volume, &of_other_disk), None);
        assert_eq!(part_within(&part, &volume), None);
        assert_eq!(locate(&table, 22, Path::new("/")), None);
    }

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

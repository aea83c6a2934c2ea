//! Opened sources, bound to paths that only the agent and libcontainer use.

use std::{
    fs, io,
    os::fd::OwnedFd,
    path::{Path, PathBuf},
};

use agent_client::oci::Mount;
use nix::{
    fcntl::{OFlag, open},
    mount::{MntFlags, MsFlags, mount, umount2},
    sys::{
        stat::{Mode, SFlag},
        statfs::{PROC_SUPER_MAGIC, fstatfs},
    },
};

use super::{
    options::{is_bind, is_propagation, is_read_only, is_recursive, propagations},
    walk::{Content, kind},
};
use crate::{
    beneath,
    error::{Doing, Result},
    storage::Options,
};

/// The files of procfs that a container may mount something on, as with runc.
const REPLACEABLE: [&str; 10] = [
    "/proc/cpuinfo",
    "/proc/diskstats",
    "/proc/meminfo",
    "/proc/stat",
    "/proc/swaps",
    "/proc/uptime",
    "/proc/loadavg",
    "/proc/slabinfo",
    "/proc/sys/kernel/ns_last_pid",
    "/proc/sys/crypto/fips_enabled",
];

/// What is to be mounted.
#[derive(Debug)]
pub enum Source {
    /// A file or directory. `below_root` is whether it is below the agent's directory, where
    /// containers can write.
    Bind { opened: OwnedFd, below_root: bool },
    /// A tmpfs that libcontainer can make.
    PlainTmpfs,
    /// A tmpfs that libcontainer cannot make: it is read-only, so mount points below it have to be
    /// made first, or its propagation is not private.
    SpecialTmpfs,
    /// A file system of the container's namespaces, such as procfs.
    Kernel { is_proc: bool },
}

impl Source {
    /// Opens the source of `mount`. No link is followed below `root`, the agent's directory.
    pub fn open(root: &Path, mount: &Mount) -> Result<Self> {
        if !is_bind(mount) {
            let at_dev =
                super::walk::without_links(Path::new(&mount.destination)) == Path::new("/dev");
            return Ok(match mount.type_.as_str() {
                "tmpfs" if at_dev => Self::Kernel { is_proc: false },
                "tmpfs" if is_special(mount) => Self::SpecialTmpfs,
                "tmpfs" => Self::PlainTmpfs,
                kind => Self::Kernel {
                    is_proc: kind == "proc",
                },
            });
        }
        let source = Path::new(&mount.source);
        let below_root = source.starts_with(root);
        let opened = if below_root {
            beneath::find(root, source)?
        } else {
            let flags = OFlag::O_PATH | OFlag::O_CLOEXEC;
            open(source, flags, Mode::empty()).on("find", source)?
        };
        Ok(Self::Bind { opened, below_root })
    }

    pub fn is_directory(&self) -> bool {
        match self {
            Self::Bind { opened, .. } => kind(opened).is_ok_and(|kind| kind == SFlag::S_IFDIR),
            Self::PlainTmpfs | Self::SpecialTmpfs | Self::Kernel { .. } => true,
        }
    }

    /// Why this must not be mounted at `destination`, if so: only procfs may be mounted at `/proc`,
    /// and only the files of runc's list may be mounted over.
    pub fn refusal_at(&self, destination: &Path) -> Option<&'static str> {
        let inside = destination.strip_prefix("/proc").ok()?;
        if inside.as_os_str().is_empty() {
            let is_proc = match self {
                Self::Bind { opened, .. } => {
                    fstatfs(opened).is_ok_and(|found| found.filesystem_type() == PROC_SUPER_MAGIC)
                }
                Self::PlainTmpfs | Self::SpecialTmpfs => false,
                Self::Kernel { is_proc } => *is_proc,
            };
            return (!is_proc).then_some("only procfs can be mounted there");
        }
        let replaceable = REPLACEABLE.iter().any(|one| destination == Path::new(one));
        (!replaceable).then_some("it is inside /proc")
    }

    /// What destinations below the mount find. `staged_at` is where the agent has mounted it, if it
    /// has.
    pub fn into_content(self, mount: &Mount, staged_at: Option<&Path>) -> nix::Result<Content> {
        let opened = match (self, staged_at) {
            (Self::Bind { opened, .. }, _) => opened,
            (Self::SpecialTmpfs, Some(staged_at)) => {
                open(staged_at, OFlag::O_PATH | OFlag::O_CLOEXEC, Mode::empty())?
            }
            (Self::PlainTmpfs | Self::SpecialTmpfs, _) => return Ok(Content::Missing),
            (Self::Kernel { .. }, _) => return Ok(Content::Unknown),
        };
        Ok(Content::Known {
            opened: opened.into(),
            read_only: is_read_only(mount),
        })
    }
}

/// A directory of the agent's own with the staged mounts of one container. Dropping it unmounts
/// them.
#[derive(Debug)]
pub struct StagingDirectory {
    path: PathBuf,
    mount_points: Vec<PathBuf>,
}

impl StagingDirectory {
    /// The directory of the container `id`. It is made with its first mount, and is not below
    /// `root`, the agent's directory, which is removed with all its content.
    pub fn new(root: &Path, id: &str) -> Self {
        Self {
            path: root.with_extension("mounts").join(id),
            mount_points: Vec::new(),
        }
    }

    /// Mounts a source and returns where; `None` for one that libcontainer mounts by itself.
    pub fn stage(&mut self, mount: &Mount, source: &Source) -> io::Result<Option<PathBuf>> {
        let mount_point = match source {
            Source::Bind {
                opened,
                below_root: true,
            } => {
                let mount_point = self.new_mount_point(source.is_directory())?;
                bind(opened, &mount_point, is_recursive(mount))?;
                mount_point
            }
            Source::SpecialTmpfs => self.mount_tmpfs(mount)?,
            Source::PlainTmpfs | Source::Bind { .. } | Source::Kernel { .. } => return Ok(None),
        };
        for change in propagations(mount) {
            propagate(&mount_point, change)?;
        }
        Ok(Some(mount_point))
    }

    /// Mounts a tmpfs with the options of the specification.
    pub fn mount_tmpfs(&mut self, mount: &Mount) -> io::Result<PathBuf> {
        let mount_point = self.new_mount_point(true)?;
        tmpfs(&mount.source, &mount_point, &own_options(mount))?;
        Ok(mount_point)
    }

    fn new_mount_point(&mut self, directory: bool) -> io::Result<PathBuf> {
        if self.mount_points.is_empty() {
            fs::create_dir_all(&self.path)?;
        }
        let mount_point = self.path.join(self.mount_points.len().to_string());
        if directory {
            fs::create_dir(&mount_point)?;
        } else {
            fs::File::create_new(&mount_point)?;
        }
        self.mount_points.push(mount_point.clone());
        Ok(mount_point)
    }
}

impl Drop for StagingDirectory {
    /// Makes each mount private first, so that unmounting does not propagate. A mount point that is
    /// still mounted stays: only empty directories and files are removed.
    fn drop(&mut self) {
        for mount_point in self.mount_points.iter().rev() {
            let _not_mounted = propagate(mount_point, MsFlags::MS_PRIVATE | MsFlags::MS_REC);
            let flags = MntFlags::UMOUNT_NOFOLLOW | MntFlags::MNT_DETACH;
            let _not_mounted = umount2(mount_point, flags);
            let _busy = fs::remove_dir(mount_point).or_else(|_| fs::remove_file(mount_point));
        }
        let _busy_or_missing = fs::remove_dir(&self.path);
    }
}

fn is_special(mount: &Mount) -> bool {
    let private = |change: MsFlags| change.contains(MsFlags::MS_PRIVATE);
    is_read_only(mount) || !propagations(mount).all(private)
}

fn bind(opened: &OwnedFd, point: &Path, recursive: bool) -> io::Result<()> {
    let flags = match recursive {
        true => MsFlags::MS_BIND | MsFlags::MS_REC,
        false => MsFlags::MS_BIND,
    };
    let source = beneath::descriptor_path(opened);
    mount(Some(&source), point, None::<&str>, flags, None::<&str>)?;
    Ok(())
}

fn propagate(point: &Path, change: MsFlags) -> io::Result<()> {
    mount(None::<&str>, point, None::<&str>, change, None::<&str>)?;
    Ok(())
}

/// The options of a staged tmpfs. Read-only is not among them: mount points below it are still to
/// be made, and only the container's mount is read-only.
fn own_options(mount: &Mount) -> Options {
    let words = mount.options.iter().map(String::as_str);
    let words = words.filter(|word| !is_propagation(word) && !["ro", "rro"].contains(word));
    Options::parse(words)
}

fn tmpfs(name: &str, point: &Path, options: &Options) -> io::Result<()> {
    let data = Some(options.data.as_str()).filter(|data| !data.is_empty());
    mount(Some(name), point, Some("tmpfs"), options.flags, data)?;
    propagate(point, MsFlags::MS_PRIVATE)
}

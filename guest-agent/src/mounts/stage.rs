//! Sources, opened, and bound where only the agent and the runtime find them.

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

/// Entries of procfs that a container may have something else in place of; runc's list.
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
    /// A file or directory. `ours`: below the agent's directory, where containers may write.
    Bind { opened: OwnedFd, ours: bool },
    /// A tmpfs that the runtime makes as it is asked for.
    Memory,
    /// A tmpfs that needs more than the runtime does: it is read-only, and mounts below it need places,
    /// or its propagation is not private.
    StagedMemory,
    /// A file system that belongs to the container's namespaces.
    Kernel { is_proc: bool },
}

impl Source {
    /// Opens what `mount` names. No link is followed below `root`, the agent's directory.
    pub fn open(root: &Path, mount: &Mount) -> Result<Self> {
        if !is_bind(mount) {
            let at_dev = super::walk::plain(Path::new(&mount.destination)) == Path::new("/dev");
            return Ok(match mount.type_.as_str() {
                "tmpfs" if at_dev => Self::Kernel { is_proc: false },
                "tmpfs" if needs_staging(mount) => Self::StagedMemory,
                "tmpfs" => Self::Memory,
                kind => Self::Kernel {
                    is_proc: kind == "proc",
                },
            });
        }
        let source = Path::new(&mount.source);
        let ours = source.starts_with(root);
        let opened = if ours {
            beneath::find(root, source)?
        } else {
            let flags = OFlag::O_PATH | OFlag::O_CLOEXEC;
            open(source, flags, Mode::empty()).on("find", source)?
        };
        Ok(Self::Bind { opened, ours })
    }

    pub fn is_directory(&self) -> bool {
        match self {
            Self::Bind { opened, .. } => kind(opened).is_ok_and(|kind| kind == SFlag::S_IFDIR),
            Self::Memory | Self::StagedMemory | Self::Kernel { .. } => true,
        }
    }

    /// Why this must not be mounted at `destination`: nothing but procfs is at `/proc`, and what is
    /// inside stays the kernel's word.
    pub fn refusal_at(&self, destination: &Path) -> Option<&'static str> {
        let inside = destination.strip_prefix("/proc").ok()?;
        if inside.as_os_str().is_empty() {
            let is_proc = match self {
                Self::Bind { opened, .. } => {
                    fstatfs(opened).is_ok_and(|found| found.filesystem_type() == PROC_SUPER_MAGIC)
                }
                Self::Memory | Self::StagedMemory => false,
                Self::Kernel { is_proc } => *is_proc,
            };
            return (!is_proc).then_some("only procfs can be there");
        }
        let replaceable = REPLACEABLE.iter().any(|one| destination == Path::new(one));
        (!replaceable).then_some("it is inside /proc")
    }

    /// What later destinations find below the mount, which is at `staged` if the agent made it.
    pub fn into_content(self, mount: &Mount, staged: Option<&Path>) -> nix::Result<Content> {
        let opened = match (self, staged) {
            (Self::Bind { opened, .. }, _) => opened,
            (Self::StagedMemory, Some(staged)) => {
                open(staged, OFlag::O_PATH | OFlag::O_CLOEXEC, Mode::empty())?
            }
            (Self::Memory | Self::StagedMemory, _) => return Ok(Content::Missing),
            (Self::Kernel { .. }, _) => return Ok(Content::Unknown),
        };
        Ok(Content::Known {
            opened: opened.into(),
            read_only: is_read_only(mount),
        })
    }
}

/// A directory of the agent's own, with a mount for each source of one container.
#[derive(Debug)]
pub struct Staging {
    directory: PathBuf,
    points: Vec<PathBuf>,
}

impl Staging {
    /// An empty one, beside the agent's directory: what is below that is removed with all content.
    pub fn new(root: &Path, id: &str) -> Result<Self> {
        let directory = root.with_extension("mounts").join(id);
        fs::create_dir_all(&directory).on("create", &directory)?;
        Ok(Self {
            directory,
            points: Vec::new(),
        })
    }

    /// Mounts a source; `None` for one that the runtime is to mount itself.
    pub fn place(&mut self, mount: &Mount, source: &Source) -> io::Result<Option<PathBuf>> {
        match source {
            Source::Bind { opened, ours: true } => {
                let point = self.point(source.is_directory())?;
                bind(opened, &point, is_recursive(mount))?;
                for change in propagations(mount) {
                    propagate(&point, change)?;
                }
                Ok(Some(point))
            }
            Source::StagedMemory => {
                let point = self.try_memory(mount)?;
                for change in propagations(mount) {
                    propagate(&point, change)?;
                }
                Ok(Some(point))
            }
            Source::Memory | Source::Bind { .. } | Source::Kernel { .. } => Ok(None),
        }
    }

    /// Mounts a tmpfs with the options of the specification.
    pub fn try_memory(&mut self, mount: &Mount) -> io::Result<PathBuf> {
        let point = self.point(true)?;
        make(&mount.source, &point, &own_options(mount))?;
        Ok(point)
    }

    /// A place to mount something on.
    fn point(&mut self, directory: bool) -> io::Result<PathBuf> {
        let point = self.directory.join(self.points.len().to_string());
        if directory {
            fs::create_dir(&point)?;
        } else {
            fs::File::create_new(&point)?;
        }
        self.points.push(point.clone());
        Ok(point)
    }
}

impl Drop for Staging {
    /// Made private first: the unmounting must not reach those that the mount is shared with. What is
    /// mounted in spite of all is left alone, never what it holds removed.
    fn drop(&mut self) {
        for point in self.points.iter().rev() {
            let _not_mounted = propagate(point, MsFlags::MS_PRIVATE | MsFlags::MS_REC);
            let _not_mounted = umount2(point, MntFlags::UMOUNT_NOFOLLOW | MntFlags::MNT_DETACH);
            let _busy = fs::remove_dir(point).or_else(|_| fs::remove_file(point));
        }
        let _busy = fs::remove_dir(&self.directory);
    }
}

fn needs_staging(mount: &Mount) -> bool {
    let private = |change: MsFlags| change.contains(MsFlags::MS_PRIVATE);
    is_read_only(mount) || !propagations(mount).all(private)
}

fn bind(opened: &OwnedFd, point: &Path, recursive: bool) -> io::Result<()> {
    let flags = match recursive {
        true => MsFlags::MS_BIND | MsFlags::MS_REC,
        false => MsFlags::MS_BIND,
    };
    let source = beneath::pinned(opened);
    mount(Some(&source), point, None::<&str>, flags, None::<&str>)?;
    Ok(())
}

fn propagate(point: &Path, change: MsFlags) -> io::Result<()> {
    mount(None::<&str>, point, None::<&str>, change, None::<&str>)?;
    Ok(())
}

/// The options of a file system itself. It is read-only only in the container: what is mounted below
/// needs a place.
fn own_options(mount: &Mount) -> Options {
    let words = mount.options.iter().map(String::as_str);
    let words = words.filter(|word| !is_propagation(word) && !["ro", "rro"].contains(word));
    Options::parse(words)
}

fn make(name: &str, point: &Path, options: &Options) -> io::Result<()> {
    let data = Some(options.data.as_str()).filter(|data| !data.is_empty());
    mount(Some(name), point, Some("tmpfs"), options.flags, data)?;
    propagate(point, MsFlags::MS_PRIVATE)
}

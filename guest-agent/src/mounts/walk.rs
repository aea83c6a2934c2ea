//! Where a destination is in the end: its links followed within the container's root, and through the
//! mounts that will lie on the way by then.

use std::{
    collections::{BTreeMap, VecDeque},
    ffi::OsString,
    os::fd::OwnedFd,
    path::{Component, Path, PathBuf},
    sync::Arc,
};

use nix::{
    errno::Errno,
    fcntl::{OFlag, OpenHow, ResolveFlag, open, openat2, readlinkat},
    sys::stat::{Mode, SFlag, fstat, mkdirat},
};

use crate::error::{Doing, Result};

/// Most links on the way to a destination; as many as runc follows.
const MOST_LINKS: usize = 255;
/// Most names on the way: no longer path can be mounted on.
const MOST_NAMES: usize = 2048;

/// The names so far, and what is there.
type Way = Vec<(OsString, Content)>;

/// What is at a place of the container's view, as far as it can be known before it is mounted.
#[derive(Debug, Clone)]
pub enum Content {
    /// There is nothing yet.
    Missing,
    /// Only the container's own namespaces can tell.
    Unknown,
    /// This. What is missing below a mount that will be read-only must be made before.
    Known {
        opened: Arc<OwnedFd>,
        read_only: bool,
    },
}

/// What is to be mounted, so what a missing destination has to be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Wanted {
    Directory,
    File,
}

/// A destination without links.
#[derive(Debug)]
pub struct Resolved {
    pub path: PathBuf,
    /// What is there, if that is known.
    pub kind: Option<SFlag>,
}

/// A container's root with the mounts so far.
#[derive(Debug)]
pub struct Walk {
    root: Content,
    mounts: BTreeMap<PathBuf, Content>,
}

impl Walk {
    pub fn new(rootfs: &Path) -> Result<Self> {
        let flags = OFlag::O_PATH | OFlag::O_DIRECTORY | OFlag::O_CLOEXEC;
        let opened = open(rootfs, flags, Mode::empty()).on("open the container's root", rootfs)?;
        let root = Content::Known {
            opened: opened.into(),
            read_only: false,
        };
        Ok(Self {
            root,
            mounts: BTreeMap::new(),
        })
    }

    /// Says what is mounted at a resolved destination from now on.
    pub fn mounted(&mut self, destination: PathBuf, content: Content) {
        self.mounts.insert(destination, content);
    }

    /// Follows `destination`. Steps upwards end at the root, and what is missing is taken for
    /// directories, which the runtime makes; as runc does it.
    pub fn resolve(&self, destination: &Path, wanted: Wanted) -> nix::Result<Resolved> {
        let mut remaining = names(destination);
        let mut way = Way::new();
        let mut links = 0;
        while let Some(name) = remaining.pop_front() {
            if name == ".." {
                way.pop();
                continue;
            }
            let wanted = match remaining.is_empty() {
                true => wanted,
                false => Wanted::Directory,
            };
            match self.next(&way, &name, wanted)? {
                Step::To(content) => way.push((name, content)),
                Step::Link(target) => {
                    links += 1;
                    if target.is_absolute() {
                        way.clear();
                    }
                    let mut ahead = names(&target);
                    ahead.append(&mut remaining);
                    remaining = ahead;
                }
            }
            if links > MOST_LINKS {
                return Err(Errno::ELOOP);
            }
            if way.len() + remaining.len() > MOST_NAMES {
                return Err(Errno::ENAMETOOLONG);
            }
        }
        let kind = match self.end(&way) {
            Content::Known { opened, .. } => Some(kind(opened)?),
            Content::Missing | Content::Unknown => None,
        };
        Ok(Resolved {
            path: path_of(&way),
            kind,
        })
    }

    /// One name further: through the mount that lies there, or else what is in the directory.
    fn next(&self, way: &Way, name: &OsString, wanted: Wanted) -> nix::Result<Step> {
        let mut path = path_of(way);
        path.push(name);
        match self.mounts.get(&path) {
            Some(mounted) => Ok(Step::To(mounted.clone())),
            None => step(self.end(way), name, wanted),
        }
    }

    fn end<'a>(&'a self, way: &'a Way) -> &'a Content {
        way.last()
            .map_or_else(|| self.top(), |(_, content)| content)
    }

    fn top(&self) -> &Content {
        self.mounts.get(Path::new("/")).unwrap_or(&self.root)
    }
}

/// A destination as it reads, with no link looked at.
pub fn plain(destination: &Path) -> PathBuf {
    let mut path = PathBuf::from("/");
    for name in names(destination) {
        match name == ".." {
            true => drop(path.pop()),
            false => path.push(name),
        }
    }
    path
}

pub fn kind(opened: &OwnedFd) -> nix::Result<SFlag> {
    Ok(SFlag::from_bits_truncate(fstat(opened)?.st_mode) & SFlag::S_IFMT)
}

fn names(path: &Path) -> VecDeque<OsString> {
    path.components()
        .filter_map(|part| match part {
            Component::Normal(name) => Some(name.to_owned()),
            Component::ParentDir => Some("..".into()),
            _ => None,
        })
        .collect()
}

fn path_of(way: &Way) -> PathBuf {
    let mut path = PathBuf::from("/");
    path.extend(way.iter().map(|(name, _)| name));
    path
}

enum Step {
    To(Content),
    Link(PathBuf),
}

/// One name further.
fn step(here: &Content, name: &OsString, wanted: Wanted) -> nix::Result<Step> {
    let Content::Known { opened, read_only } = here else {
        return Ok(Step::To(here.clone()));
    };
    let read_only = *read_only;
    let below = match look(opened, name) {
        Err(Errno::ENOENT) if read_only => {
            make(opened, name, wanted)?;
            look(opened, name)?
        }
        Err(Errno::ENOENT) => return Ok(Step::To(Content::Missing)),
        other => other?,
    };
    if kind(&below)? == SFlag::S_IFLNK {
        return Ok(Step::Link(readlinkat(&below, "")?.into()));
    }
    let opened = below.into();
    Ok(Step::To(Content::Known { opened, read_only }))
}

/// Opens a name, itself and not what it links to.
fn look(directory: &OwnedFd, name: &OsString) -> nix::Result<OwnedFd> {
    let how = OpenHow::new()
        .flags(OFlag::O_PATH | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC)
        .resolve(ResolveFlag::RESOLVE_BENEATH | ResolveFlag::RESOLVE_NO_MAGICLINKS);
    openat2(directory, name.as_os_str(), how)
}

fn make(directory: &OwnedFd, name: &OsString, wanted: Wanted) -> nix::Result<()> {
    let name = name.as_os_str();
    match wanted {
        Wanted::Directory => mkdirat(directory, name, Mode::from_bits_truncate(0o755)),
        Wanted::File => {
            let how = OpenHow::new()
                .flags(OFlag::O_CREAT | OFlag::O_EXCL | OFlag::O_WRONLY | OFlag::O_CLOEXEC)
                .mode(Mode::from_bits_truncate(0o644))
                .resolve(ResolveFlag::RESOLVE_BENEATH);
            openat2(directory, name, how).map(drop)
        }
    }
}

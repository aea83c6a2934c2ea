//! Resolves the destination of a mount: follows its links within the container's root, and through
//! the mounts that come before it.

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

/// Most links in a destination, as with runc.
const MAX_LINKS: usize = 255;
/// Most names in a destination: a longer path cannot be mounted on.
const MAX_NAMES: usize = 2048;

/// The resolved names so far, each with what is there.
type Resolving = Vec<(OsString, Content)>;

/// What a container will find at a path, as far as that is known before the mounts are made.
#[derive(Debug, Clone)]
pub enum Content {
    /// Nothing: it has to be made before something can be mounted on it.
    Missing,
    /// Something that depends on the container's namespaces.
    Unknown,
    /// What was opened. If it will be read-only, what is missing below it is made now.
    Known {
        opened: Arc<OwnedFd>,
        read_only: bool,
    },
}

/// What is to be mounted, and so what a missing destination has to be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Wanted {
    Directory,
    File,
}

/// A destination within the root, after all links were followed.
#[derive(Debug)]
pub struct Resolved {
    /// Absolute, below the container's root, and without links.
    pub path: PathBuf,
    /// The type of the file there, if that is known.
    pub kind: Option<SFlag>,
}

/// A container's root with the mounts that were added so far.
#[derive(Debug)]
pub struct Walk {
    root: Content,
    mounts: BTreeMap<PathBuf, Content>,
}

impl Walk {
    /// Starts with the root file system and no mounts.
    ///
    /// # Errors
    ///
    /// When `rootfs` is not a directory.
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

    /// Adds a mount at a resolved destination.
    pub fn add_mount(&mut self, destination: PathBuf, content: Content) {
        self.mounts.insert(destination, content);
    }

    /// Resolves `destination` as runc does: `..` stops at the root, and missing names are taken for
    /// directories, which libcontainer makes.
    ///
    /// # Errors
    ///
    /// Those of the system calls; `ELOOP` and `ENAMETOOLONG` beyond the limits.
    pub fn resolve(&self, destination: &Path, wanted: Wanted) -> nix::Result<Resolved> {
        let mut remaining = names(destination);
        let mut done = Resolving::new();
        let mut links = 0;
        while let Some(name) = remaining.pop_front() {
            if name == ".." {
                done.pop();
                continue;
            }
            let wanted = match remaining.is_empty() {
                true => wanted,
                false => Wanted::Directory,
            };
            match self.next(&done, &name, wanted)? {
                Step::To(content) => done.push((name, content)),
                Step::Link(target) => {
                    links += 1;
                    if target.is_absolute() {
                        done.clear();
                    }
                    let mut ahead = names(&target);
                    ahead.append(&mut remaining);
                    remaining = ahead;
                }
            }
            if links > MAX_LINKS {
                return Err(Errno::ELOOP);
            }
            if done.len() + remaining.len() > MAX_NAMES {
                return Err(Errno::ENAMETOOLONG);
            }
        }
        let kind = match self.end(&done) {
            Content::Known { opened, .. } => Some(kind(opened)?),
            Content::Missing | Content::Unknown => None,
        };
        Ok(Resolved {
            path: path_of(&done),
            kind,
        })
    }

    /// Looks up one more name: a mount at that path, or else what is in the directory.
    fn next(&self, done: &Resolving, name: &OsString, wanted: Wanted) -> nix::Result<Step> {
        let mut path = path_of(done);
        path.push(name);
        match self.mounts.get(&path) {
            Some(mounted) => Ok(Step::To(mounted.clone())),
            None => step(self.end(done), name, wanted),
        }
    }

    fn end<'a>(&'a self, done: &'a Resolving) -> &'a Content {
        done.last()
            .map_or_else(|| self.top(), |(_, content)| content)
    }

    fn top(&self) -> &Content {
        self.mounts.get(Path::new("/")).unwrap_or(&self.root)
    }
}

/// A destination resolved without looking at the file system.
pub fn without_links(destination: &Path) -> PathBuf {
    let mut path = PathBuf::from("/");
    for name in names(destination) {
        match name == ".." {
            true => drop(path.pop()),
            false => path.push(name),
        }
    }
    path
}

/// The type of an open file.
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

fn path_of(done: &Resolving) -> PathBuf {
    let mut path = PathBuf::from("/");
    path.extend(done.iter().map(|(name, _)| name));
    path
}

enum Step {
    To(Content),
    Link(PathBuf),
}

/// Looks up one more name in a directory.
fn step(here: &Content, name: &OsString, wanted: Wanted) -> nix::Result<Step> {
    let Content::Known { opened, read_only } = here else {
        return Ok(Step::To(here.clone()));
    };
    let read_only = *read_only;
    let below = match open_name(opened, name) {
        Err(Errno::ENOENT) if read_only => {
            make(opened, name, wanted)?;
            open_name(opened, name)?
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

/// Opens a name; a link is opened itself.
fn open_name(directory: &OwnedFd, name: &OsString) -> nix::Result<OwnedFd> {
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

#[cfg(test)]
mod tests {
    use std::{
        fs::{self, File},
        os::unix::fs::symlink,
    };

    use super::*;

    fn content(path: &Path, read_only: bool) -> Content {
        Content::Known {
            opened: Arc::new(File::open(path).unwrap().into()),
            read_only,
        }
    }

    fn resolved(walk: &Walk, destination: &str) -> String {
        let found = walk.resolve(Path::new(destination), Wanted::Directory);
        found.unwrap().path.to_str().unwrap().to_owned()
    }

    #[test]
    fn links_are_followed_within_the_root() {
        let root = tempfile::tempdir().unwrap();
        let link = |target: &str, name: &str| symlink(target, root.path().join(name)).unwrap();
        fs::create_dir_all(root.path().join("etc")).unwrap();
        fs::create_dir_all(root.path().join("real/deep")).unwrap();
        link("../run/systemd/resolve/stub-resolv.conf", "etc/resolv.conf");
        link("/var/lib/absent", "data");
        link("second", "first");
        link("/third/x", "second");
        link("real", "third");
        link("../../../../../../out", "up");
        link("/real/deep/../../data/y", "mixed");
        link("loop", "loop");
        let walk = Walk::new(root.path()).unwrap();
        for (destination, expected) in [
            ("/etc/resolv.conf", "/run/systemd/resolve/stub-resolv.conf"),
            ("/data", "/var/lib/absent"),
            ("/data/below/it", "/var/lib/absent/below/it"),
            ("/first", "/real/x"),
            ("/first/../y", "/real/y"),
            ("/up", "/out"),
            ("/mixed", "/var/lib/absent/y"),
            ("/../../etc/./new", "/etc/new"),
            ("/absent/../real", "/real"),
            ("/", "/"),
        ] {
            assert_eq!(resolved(&walk, destination), expected, "{destination}");
        }
        let looped = walk.resolve(Path::new("/loop"), Wanted::File);
        assert_eq!(looped.unwrap_err(), Errno::ELOOP);
        symlink("a/".repeat(2000) + "long", root.path().join("long")).unwrap();
        let long = walk.resolve(Path::new("/long/x"), Wanted::File);
        assert_eq!(long.unwrap().path.components().count(), 2003);
        let longer = "/long/".to_owned() + &"x/".repeat(1000);
        let longer = walk.resolve(Path::new(&longer), Wanted::File);
        assert_eq!(longer.unwrap_err(), Errno::ENAMETOOLONG);
        assert!(!root.path().join("var").exists() && !root.path().join("run").exists());
    }

    #[test]
    fn a_destination_leads_through_earlier_mounts() {
        let root = tempfile::tempdir().unwrap();
        let volume = tempfile::tempdir().unwrap();
        fs::create_dir_all(root.path().join("data/hidden")).unwrap();
        symlink("/etc", root.path().join("data/x")).unwrap();
        symlink("/srv/of-the-volume", volume.path().join("x")).unwrap();
        fs::write(volume.path().join("file"), "").unwrap();
        let mut walk = Walk::new(root.path()).unwrap();
        assert_eq!(resolved(&walk, "/data/x"), "/etc");
        walk.add_mount("/data".into(), content(volume.path(), false));
        assert_eq!(resolved(&walk, "/data/x/y"), "/srv/of-the-volume/y");
        let found = walk.resolve(Path::new("/data/file"), Wanted::File).unwrap();
        assert_eq!(found.kind, Some(SFlag::S_IFREG));
        let through = walk.resolve(Path::new("/data/file/y"), Wanted::File);
        assert_eq!(through.unwrap_err(), Errno::ENOTDIR);
        walk.add_mount("/data".into(), Content::Missing);
        assert_eq!(resolved(&walk, "/data/x/y"), "/data/x/y");
    }

    #[test]
    fn what_is_missing_below_a_read_only_mount_is_made() {
        let root = tempfile::tempdir().unwrap();
        let volume = tempfile::tempdir().unwrap();
        let mut walk = Walk::new(root.path()).unwrap();
        walk.add_mount("/data".into(), content(volume.path(), true));
        assert_eq!(resolved(&walk, "/data/a/b"), "/data/a/b");
        let file = Path::new("/data/a/file");
        walk.resolve(file, Wanted::File).unwrap();
        assert!(volume.path().join("a/b").is_dir() && volume.path().join("a/file").is_file());
        assert_eq!(fs::read_dir(root.path()).unwrap().count(), 0);
    }
}

//! How each kind of storage is mounted.

use std::{
    fs, io,
    os::{
        fd::OwnedFd,
        unix::fs::{PermissionsExt, chown},
    },
    path::{Path, PathBuf},
};

use agent_client::agent::Storage;
use nix::{
    mount::{MntFlags, MsFlags, mount, umount2},
    sys::statvfs::{FsFlags, statvfs},
    unistd::{Gid, Uid},
};

use super::{device, hugepages, options::Options, plain_path};
use crate::{
    beneath::{self, New},
    error::{Doing, Error, Result},
};

/// The drivers this agent knows.
pub const DRIVERS: [&str; 5] = ["bind", "blk", "ephemeral", "local", "overlayfs"];

/// Asks for a directory to be made before an overlay is mounted.
const CREATE_DIRECTORY: &str = "io.katacontainers.volume.overlayfs.create_directory=";

/// Mounts `storage`, whose source was looked up, at `mount_point`. Nothing below `root`, the agent's
/// directory, is found through a link.
pub fn mount_storage(
    root: &Path,
    storage: &Storage,
    source: &Path,
    mount_point: &Path,
) -> Result<()> {
    let mut group = storage.fs_group.as_ref().map(|group| group.group_id);
    match storage.driver.as_str() {
        "blk" => block(root, storage, source, mount_point)?,
        "overlayfs" => overlay(root, storage, mount_point)?,
        "ephemeral" => {
            let own = ephemeral(root, storage, source, mount_point)?;
            group = group.or(own);
        }
        "local" => return local(root, storage, mount_point),
        "bind" => bind(root, storage, source, mount_point)?,
        other => return Err(Error::Unsupported(format!("the storage driver {other:?}"))),
    }
    let Some(group) = group else {
        return Ok(());
    };
    let given = Place::present(root, mount_point).and_then(|at| at.give_to_group(group));
    given.or_else(|error| undo(root, mount_point, error))
}

/// Unmounts what was mounted in vain, since nobody will know of it.
fn undo(root: &Path, mount_point: &Path, error: Error) -> Result<()> {
    let undone = Place::present(root, mount_point).and_then(|at| at.unmount());
    Err(match undone {
        Ok(()) => error,
        Err(left) => Error::State(format!(
            "{}; it stays mounted: {}",
            error.chain(),
            left.chain()
        )),
    })
}

fn block(root: &Path, storage: &Storage, source: &Path, mount_point: &Path) -> Result<()> {
    if let Some(option) = storage.driver_options.first() {
        return Err(Error::Unsupported(format!(
            "the block storage option {option:?}"
        )));
    }
    device::forget_content(source)?;
    let options = Options::parse(storage.options.iter().map(String::as_str));
    mount_at(root, source, mount_point, &storage.fstype, &options)
}

fn overlay(root: &Path, storage: &Storage, mount_point: &Path) -> Result<()> {
    let named = storage
        .driver_options
        .iter()
        .filter_map(|one| one.strip_prefix(CREATE_DIRECTORY));
    for directory in named {
        Place::directory(root, &plain_path(directory)?)?;
    }
    let options = Options::parse(storage.options.iter().map(String::as_str));
    mount_at(root, Path::new("overlay"), mount_point, "overlay", &options)
}

/// Returns the group that its options give it to.
fn ephemeral(
    root: &Path,
    storage: &Storage,
    source: &Path,
    mount_point: &Path,
) -> Result<Option<u32>> {
    let (group, rest) = split_group(&storage.options)?;
    if storage.fstype == "hugetlbfs" {
        hugepages::reserve(Path::new(hugepages::POOLS), &rest)?;
    }
    mount_at(
        root,
        source,
        mount_point,
        &storage.fstype,
        &Options::parse(rest),
    )?;
    Ok(group)
}

/// A directory, made where there is nothing; what is there stays as it is, also a file.
pub fn local(root: &Path, storage: &Storage, mount_point: &Path) -> Result<()> {
    let number = |name: &str, radix| -> Result<Option<u32>> {
        let mut options = storage.options.iter();
        let Some(value) = options.find_map(|option| option.strip_prefix(name)) else {
            return Ok(None);
        };
        let wrong = |_| Error::Invalid(format!("{value:?} is no number ({name})"));
        u32::from_str_radix(value, radix).map(Some).map_err(wrong)
    };
    let owner = storage.fs_group.as_ref().map(|group| group.group_id);
    let owner = owner.or(number("fsgid=", 10)?);
    let mode = number("mode=", 8)?.unwrap_or(0o755);
    let new = New {
        // Lets the group write, and own what will be made.
        mode: owner.map_or(mode, |_| mode | 0o2070),
        user: number("uid=", 10)?.map(Uid::from_raw),
        group: owner.or(number("gid=", 10)?).map(Gid::from_raw),
    };
    beneath::find_or_make(root, mount_point, new).map(drop)
}

/// Removes what [`local`] made, with its content.
pub fn remove_local(root: &Path, mount_point: &Path) -> Result<()> {
    let (parent, name) = beneath::parent(root, mount_point)?;
    let there = beneath::pinned(&parent).join(name);
    let removed = match fs::symlink_metadata(&there)
        .on("find", mount_point)?
        .is_dir()
    {
        true => fs::remove_dir_all(&there),
        false => fs::remove_file(&there),
    };
    removed.on("remove", mount_point)
}

/// Where something is mounted, or what is: opened, if it is below the agent's directory.
struct Place<'a> {
    /// As it was asked for.
    name: &'a Path,
    /// By which the kernel finds it.
    path: PathBuf,
    /// Keeps that good.
    opened: Option<OwnedFd>,
}

impl<'a> Place<'a> {
    fn pinned(name: &'a Path, opened: OwnedFd) -> Self {
        Self {
            name,
            path: beneath::pinned(&opened),
            opened: Some(opened),
        }
    }

    fn outside(name: &'a Path) -> Self {
        Self {
            name,
            path: name.to_owned(),
            opened: None,
        }
    }

    fn directory(root: &Path, path: &'a Path) -> Result<Self> {
        if path.starts_with(root) {
            let opened = beneath::directory(root, path, New::PLAIN)?;
            return Ok(Self::pinned(path, opened));
        }
        fs::create_dir_all(path).on("create", path)?;
        Ok(Self::outside(path))
    }

    fn file(root: &Path, path: &'a Path) -> Result<Self> {
        if path.starts_with(root) {
            let opened = beneath::file(root, path)?;
            return Ok(Self::pinned(path, opened));
        }
        if let Some(parent) = path.parent() {
            fs::create_dir_all(parent).on("create", parent)?;
        }
        match fs::File::create_new(path) {
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
            other => drop(other.on("create", path)?),
        }
        Ok(Self::outside(path))
    }

    /// What is there: after something was mounted, that.
    fn present(root: &Path, path: &'a Path) -> Result<Self> {
        match path.starts_with(root) {
            true => Ok(Self::pinned(path, beneath::find(root, path)?)),
            false => Ok(Self::outside(path)),
        }
    }

    /// Mounts it again with other flags and options.
    fn remount(&self, flags: MsFlags, data: Option<&str>) -> nix::Result<()> {
        let (flags, none) = (flags | MsFlags::MS_REMOUNT, None::<&str>);
        mount(none, &self.path, none, flags, data)
    }

    /// At once, whoever is in there. What was opened is itself, and behind a link of the kernel's.
    fn unmount(self) -> Result<()> {
        let flags = match self.opened {
            Some(_) => MntFlags::MNT_DETACH,
            None => MntFlags::MNT_DETACH | MntFlags::UMOUNT_NOFOLLOW,
        };
        umount2(&self.path, flags).on("unmount", self.name)
    }

    /// Lets a group write to a volume, and own what will be made in it. One that is read-only stays as
    /// it is: nobody writes to it.
    fn give_to_group(&self, group: u32) -> Result<()> {
        let found = statvfs(&self.path).on("look at the file system of", self.name)?;
        if found.flags().contains(FsFlags::ST_RDONLY) {
            return Ok(());
        }
        chown(&self.path, None, Some(group)).on("change the group of", self.name)?;
        let found = fs::metadata(&self.path).on("find", self.name)?;
        let mode = found.permissions().mode() & 0o7777 | 0o2070;
        fs::set_permissions(&self.path, fs::Permissions::from_mode(mode))
            .on("set the mode of", self.name)
    }
}

/// A bind mount takes no flags but `MS_REC`; the others need a second call.
fn bind(root: &Path, storage: &Storage, source: &Path, mount_point: &Path) -> Result<()> {
    let options = Options::parse(storage.options.iter().map(String::as_str));
    let from = Place::present(root, source)?;
    let is_directory = fs::metadata(&from.path).on("find", source)?.is_dir();
    let at = match is_directory {
        true => Place::directory(root, mount_point)?,
        false => Place::file(root, mount_point)?,
    };
    let recursive = options.flags & MsFlags::MS_REC;
    mount(
        Some(&from.path),
        &at.path,
        None::<&str>,
        MsFlags::MS_BIND | recursive,
        None::<&str>,
    )
    .on("bind to", mount_point)?;
    let others = options.flags - (MsFlags::MS_BIND | MsFlags::MS_REC);
    if others.is_empty() {
        return Ok(());
    }
    let flags = others | MsFlags::MS_BIND;
    let changed = Place::present(root, mount_point)
        .and_then(|at| at.remount(flags, None).on("set the flags of", mount_point));
    changed.or_else(|error| undo(root, mount_point, error))
}

fn mount_at(
    root: &Path,
    source: &Path,
    mount_point: &Path,
    kind: &str,
    options: &Options,
) -> Result<()> {
    let at = Place::directory(root, mount_point)?;
    let data = Some(options.data.as_str()).filter(|data| !data.is_empty());
    mount(Some(source), &at.path, Some(kind), options.flags, data).doing(|| {
        format!(
            "mount {} ({kind}) at {}",
            source.display(),
            mount_point.display()
        )
    })
}

/// Mounts an ephemeral storage again with other options.
pub fn remount(root: &Path, storage: &Storage, mount_point: &Path) -> Result<()> {
    if storage.driver != "ephemeral" {
        return Err(Error::Invalid(format!(
            "{:?} is no ephemeral storage",
            storage.mount_point
        )));
    }
    let (_, rest) = split_group(&storage.options)?;
    let options = Options::parse(rest);
    let data = Some(options.data.as_str()).filter(|data| !data.is_empty());
    let at = Place::present(root, mount_point)?;
    at.remount(options.flags, data).on("remount", mount_point)
}

/// Takes the option `fsgid=` out of a list.
fn split_group(options: &[String]) -> Result<(Option<u32>, Vec<&str>)> {
    let mut group = None;
    let mut rest = Vec::new();
    for option in options {
        match option.strip_prefix("fsgid=") {
            Some(id) => {
                let id = id
                    .parse()
                    .map_err(|_| Error::Invalid(format!("{id:?} is no group")))?;
                group = Some(id);
            }
            None => rest.push(option.as_str()),
        }
    }
    Ok((group, rest))
}

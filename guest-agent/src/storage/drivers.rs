//! How each type of storage is mounted.

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
    beneath::{self, NewDirectory},
    error::{Doing, Error, Result},
};

/// The storage drivers that this agent implements.
pub const DRIVERS: [&str; 5] = ["bind", "blk", "ephemeral", "local", "overlayfs"];

/// The option of an overlay for a directory to be made before it is mounted.
const CREATE_DIRECTORY: &str = "io.katacontainers.volume.overlayfs.create_directory=";

/// Mounts `storage` at `mount_point`. `source` is the storage's source, or the node of its device.
/// No link is followed below `root`, the agent's directory.
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
    let changed = MountPoint::find(root, mount_point).and_then(|at| at.set_group(group));
    changed.or_else(|error| undo(root, mount_point, error))
}

/// Unmounts after `error`, and returns it; with what is left if unmounting fails, too.
fn undo(root: &Path, mount_point: &Path, error: Error) -> Result<()> {
    let unmounted = MountPoint::find(root, mount_point).and_then(|at| at.unmount());
    Err(match unmounted {
        Ok(()) => error,
        Err(failure) => Error::State(format!(
            "{}; it stays mounted: {}",
            error.chain(),
            failure.chain()
        )),
    })
}

fn block(root: &Path, storage: &Storage, source: &Path, mount_point: &Path) -> Result<()> {
    if let Some(option) = storage.driver_options.first() {
        return Err(Error::Unsupported(format!(
            "the block storage option {option:?}"
        )));
    }
    device::drop_cache(source)?;
    let options = Options::parse(storage.options.iter().map(String::as_str));
    mount_at(root, source, mount_point, &storage.fstype, &options)
}

fn overlay(root: &Path, storage: &Storage, mount_point: &Path) -> Result<()> {
    let named = storage
        .driver_options
        .iter()
        .filter_map(|one| one.strip_prefix(CREATE_DIRECTORY));
    for directory in named {
        MountPoint::directory(root, &plain_path(directory)?)?;
    }
    let options = Options::parse(storage.options.iter().map(String::as_str));
    mount_at(root, Path::new("overlay"), mount_point, "overlay", &options)
}

/// Returns the group that its options name.
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

/// Makes a directory where there is nothing. What exists is unchanged, even if it is a file.
pub fn local(root: &Path, storage: &Storage, mount_point: &Path) -> Result<()> {
    let number = |name: &str, radix| -> Result<Option<u32>> {
        let mut options = storage.options.iter();
        let Some(value) = options.find_map(|option| option.strip_prefix(name)) else {
            return Ok(None);
        };
        let invalid = |_| Error::Invalid(format!("the option {name}{value} is not a number"));
        u32::from_str_radix(value, radix).map(Some).map_err(invalid)
    };
    let owner = storage.fs_group.as_ref().map(|group| group.group_id);
    let owner = owner.or(number("fsgid=", 10)?);
    let mode = number("mode=", 8)?.unwrap_or(0o755);
    let new = NewDirectory {
        // The group may write, and new files belong to it.
        mode: owner.map_or(mode, |_| mode | 0o2070),
        user: number("uid=", 10)?.map(Uid::from_raw),
        group: owner.or(number("gid=", 10)?).map(Gid::from_raw),
    };
    beneath::find_or_make(root, mount_point, new).map(drop)
}

/// Removes what [`local`] made, with its content.
pub fn remove_local(root: &Path, mount_point: &Path) -> Result<()> {
    let (parent, name) = beneath::parent(root, mount_point)?;
    let path = beneath::descriptor_path(&parent).join(name);
    let removed = match fs::symlink_metadata(&path)
        .on("find", mount_point)?
        .is_dir()
    {
        true => fs::remove_dir_all(&path),
        false => fs::remove_file(&path),
    };
    removed.on("remove", mount_point)
}

/// A mount point, or what is mounted there. Below the agent's directory it is used by descriptor.
struct MountPoint<'a> {
    /// The path as requested, for errors.
    name: &'a Path,
    /// The path for system calls: that of the descriptor, if there is one.
    path: PathBuf,
    opened: Option<OwnedFd>,
}

impl<'a> MountPoint<'a> {
    fn opened(name: &'a Path, opened: OwnedFd) -> Self {
        Self {
            name,
            path: beneath::descriptor_path(&opened),
            opened: Some(opened),
        }
    }

    /// One that is not below the agent's directory.
    fn outside(name: &'a Path) -> Self {
        Self {
            name,
            path: name.to_owned(),
            opened: None,
        }
    }

    /// A directory; made if there is nothing.
    fn directory(root: &Path, path: &'a Path) -> Result<Self> {
        if path.starts_with(root) {
            let opened = beneath::directory(root, path, NewDirectory::PLAIN)?;
            return Ok(Self::opened(path, opened));
        }
        fs::create_dir_all(path).on("create", path)?;
        Ok(Self::outside(path))
    }

    /// A file; made if there is nothing.
    fn file(root: &Path, path: &'a Path) -> Result<Self> {
        if path.starts_with(root) {
            let opened = beneath::file(root, path)?;
            return Ok(Self::opened(path, opened));
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

    /// What exists at `path`. After something was mounted there, that.
    fn find(root: &Path, path: &'a Path) -> Result<Self> {
        match path.starts_with(root) {
            true => Ok(Self::opened(path, beneath::find(root, path)?)),
            false => Ok(Self::outside(path)),
        }
    }

    /// Changes the flags and options of the mount.
    fn remount(&self, flags: MsFlags, data: Option<&str>) -> nix::Result<()> {
        let (flags, none) = (flags | MsFlags::MS_REMOUNT, None::<&str>);
        mount(none, &self.path, none, flags, data)
    }

    /// Unmounts at once, even if the mount is in use.
    ///
    /// A descriptor's path is a link of procfs, which has to be followed; it cannot be replaced.
    fn unmount(self) -> Result<()> {
        let flags = match self.opened {
            Some(_) => MntFlags::MNT_DETACH,
            None => MntFlags::MNT_DETACH | MntFlags::UMOUNT_NOFOLLOW,
        };
        umount2(&self.path, flags).on("unmount", self.name)
    }

    /// Lets a group write to a volume; new files belong to the group. A read-only volume is
    /// unchanged.
    fn set_group(&self, group: u32) -> Result<()> {
        let found = statvfs(&self.path).on("find the file system of", self.name)?;
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

/// mount(2) ignores the other flags of a bind mount, which takes a second call to set.
fn bind(root: &Path, storage: &Storage, source: &Path, mount_point: &Path) -> Result<()> {
    let options = Options::parse(storage.options.iter().map(String::as_str));
    let from = MountPoint::find(root, source)?;
    let is_directory = fs::metadata(&from.path).on("find", source)?.is_dir();
    let at = match is_directory {
        true => MountPoint::directory(root, mount_point)?,
        false => MountPoint::file(root, mount_point)?,
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
    let changed = MountPoint::find(root, mount_point)
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
    let at = MountPoint::directory(root, mount_point)?;
    let data = Some(options.data.as_str()).filter(|data| !data.is_empty());
    mount(Some(source), &at.path, Some(kind), options.flags, data).doing(|| {
        format!(
            "mount {} ({kind}) at {}",
            source.display(),
            mount_point.display()
        )
    })
}

/// Changes the options of an ephemeral storage.
pub fn remount(root: &Path, storage: &Storage, mount_point: &Path) -> Result<()> {
    if storage.driver != "ephemeral" {
        return Err(Error::Invalid(format!(
            "{:?} is not an ephemeral storage",
            storage.mount_point
        )));
    }
    let (_, rest) = split_group(&storage.options)?;
    let options = Options::parse(rest);
    let data = Some(options.data.as_str()).filter(|data| !data.is_empty());
    let at = MountPoint::find(root, mount_point)?;
    at.remount(options.flags, data).on("remount", mount_point)
}

/// Separates the option `fsgid=` from the others.
fn split_group(options: &[String]) -> Result<(Option<u32>, Vec<&str>)> {
    let mut group = None;
    let mut rest = Vec::new();
    for option in options {
        match option.strip_prefix("fsgid=") {
            Some(id) => {
                let id = id.parse().map_err(|_| {
                    Error::Invalid(format!("the option fsgid={id} is not a group ID"))
                })?;
                group = Some(id);
            }
            None => rest.push(option.as_str()),
        }
    }
    Ok((group, rest))
}

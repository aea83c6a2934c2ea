//! How each kind of storage is mounted.

use std::{
    fs,
    os::{
        fd::OwnedFd,
        unix::fs::{PermissionsExt, chown},
    },
    path::{Path, PathBuf},
};

use agent_client::agent::Storage;
use nix::{
    fcntl::OFlag,
    mount::{MsFlags, mount},
    sys::stat::Mode,
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
    match storage.driver.as_str() {
        "blk" => block(root, storage, source, mount_point)?,
        "overlayfs" => overlay(root, storage, mount_point)?,
        "ephemeral" => ephemeral(root, storage, source, mount_point)?,
        "local" => return local(root, storage, mount_point),
        "bind" => bind(root, storage, source, mount_point)?,
        other => return Err(Error::Unsupported(format!("the storage driver {other:?}"))),
    }
    if let Some(group) = storage.fs_group.as_ref() {
        give_to_group(mount_point, group.group_id)?;
    }
    Ok(())
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

fn ephemeral(root: &Path, storage: &Storage, source: &Path, mount_point: &Path) -> Result<()> {
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
    group.map_or(Ok(()), |group| give_to_group(mount_point, group))
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
    beneath::find(root, mount_point)?;
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
struct Place {
    path: PathBuf,
    /// Keeps the path good.
    _opened: Option<OwnedFd>,
}

impl Place {
    fn pinned(opened: OwnedFd) -> Self {
        Self {
            path: beneath::pinned(&opened),
            _opened: Some(opened),
        }
    }

    fn outside(path: &Path) -> Self {
        Self {
            path: path.to_owned(),
            _opened: None,
        }
    }

    fn directory(root: &Path, path: &Path) -> Result<Self> {
        if path.starts_with(root) {
            return beneath::directory(root, path, New::PLAIN).map(Self::pinned);
        }
        fs::create_dir_all(path).on("create", path)?;
        Ok(Self::outside(path))
    }

    fn file(root: &Path, path: &Path) -> Result<Self> {
        if path.starts_with(root) {
            let (parent, name) = beneath::parent(root, path)?;
            let flags = OFlag::O_CREAT | OFlag::O_WRONLY;
            let mode = Mode::from_bits_truncate(0o644);
            let opened = beneath::open_at(&parent, Path::new(name), flags, mode);
            return opened.on("create", path).map(Self::pinned);
        }
        if let Some(parent) = path.parent() {
            fs::create_dir_all(parent).on("create", parent)?;
        }
        let mut file = fs::File::options();
        file.append(true)
            .create(true)
            .open(path)
            .on("create", path)?;
        Ok(Self::outside(path))
    }

    fn source(root: &Path, path: &Path) -> Result<Self> {
        match path.starts_with(root) {
            true => beneath::find(root, path).map(Self::pinned),
            false => Ok(Self::outside(path)),
        }
    }
}

/// A bind mount takes no flags but `MS_REC`; the others need a second call.
fn bind(root: &Path, storage: &Storage, source: &Path, mount_point: &Path) -> Result<()> {
    let options = Options::parse(storage.options.iter().map(String::as_str));
    let from = Place::source(root, source)?;
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
    let flags = others | MsFlags::MS_BIND | MsFlags::MS_REMOUNT;
    mount(None::<&str>, mount_point, None::<&str>, flags, None::<&str>)
        .on("set the flags of", mount_point)
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
pub fn remount(storage: &Storage, mount_point: &Path) -> Result<()> {
    if storage.driver != "ephemeral" {
        return Err(Error::Invalid(format!(
            "{:?} is no ephemeral storage",
            storage.mount_point
        )));
    }
    let (_, rest) = split_group(&storage.options)?;
    let options = Options::parse(rest);
    let data = Some(options.data.as_str()).filter(|data| !data.is_empty());
    let flags = options.flags | MsFlags::MS_REMOUNT;
    mount(None::<&str>, mount_point, None::<&str>, flags, data).on("remount", mount_point)
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

/// Lets a group write to a volume, and own what will be made in it.
fn give_to_group(directory: &Path, group: u32) -> Result<()> {
    chown(directory, None, Some(group)).on("change the group of", directory)?;
    let mode = fs::metadata(directory)
        .on("find", directory)?
        .permissions()
        .mode();
    fs::set_permissions(
        directory,
        fs::Permissions::from_mode(mode & 0o7777 | 0o2070),
    )
    .on("set the mode of", directory)
}

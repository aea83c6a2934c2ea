//! How each kind of storage is mounted.

use std::{
    fs,
    os::unix::fs::{PermissionsExt, chown},
    path::Path,
};

use agent_client::agent::Storage;
use nix::mount::{MsFlags, mount};

use super::{device, hugepages, options::Options, plain_path};
use crate::error::{Doing, Error, Result};

/// The drivers this agent knows.
pub const DRIVERS: [&str; 5] = ["bind", "blk", "ephemeral", "local", "overlayfs"];

/// Asks for a directory to be made before an overlay is mounted.
const CREATE_DIRECTORY: &str = "io.katacontainers.volume.overlayfs.create_directory=";

/// Mounts `storage`, whose source was looked up, at `mount_point`.
pub fn mount_storage(storage: &Storage, source: &Path, mount_point: &Path) -> Result<()> {
    match storage.driver.as_str() {
        "blk" => block(storage, source, mount_point)?,
        "overlayfs" => overlay(storage, mount_point)?,
        "ephemeral" => ephemeral(storage, source, mount_point)?,
        "local" => local(storage, mount_point)?,
        "bind" => bind(storage, source, mount_point)?,
        other => return Err(Error::Unsupported(format!("the storage driver {other:?}"))),
    }
    if let Some(group) = storage.fs_group.as_ref() {
        give_to_group(mount_point, group.group_id)?;
    }
    Ok(())
}

fn block(storage: &Storage, source: &Path, mount_point: &Path) -> Result<()> {
    if let Some(option) = storage.driver_options.first() {
        return Err(Error::Unsupported(format!(
            "the block storage option {option:?}"
        )));
    }
    device::forget_content(source)?;
    let options = Options::parse(storage.options.iter().map(String::as_str));
    mount_at(source, mount_point, &storage.fstype, &options)
}

fn overlay(storage: &Storage, mount_point: &Path) -> Result<()> {
    let named = storage
        .driver_options
        .iter()
        .filter_map(|one| one.strip_prefix(CREATE_DIRECTORY));
    for directory in named {
        let directory = plain_path(directory)?;
        fs::create_dir_all(&directory).on("create", &directory)?;
    }
    let options = Options::parse(storage.options.iter().map(String::as_str));
    mount_at(Path::new("overlay"), mount_point, "overlay", &options)
}

fn ephemeral(storage: &Storage, source: &Path, mount_point: &Path) -> Result<()> {
    let (group, rest) = split_group(&storage.options)?;
    if storage.fstype == "hugetlbfs" {
        hugepages::reserve(Path::new(hugepages::POOLS), &rest)?;
    }
    mount_at(source, mount_point, &storage.fstype, &Options::parse(rest))?;
    group.map_or(Ok(()), |group| give_to_group(mount_point, group))
}

fn local(storage: &Storage, mount_point: &Path) -> Result<()> {
    let (group, rest) = split_group(&storage.options)?;
    fs::create_dir_all(mount_point).on("create", mount_point)?;
    if let Some(mode) = rest.iter().find_map(|option| option.strip_prefix("mode=")) {
        let mode = u32::from_str_radix(mode, 8)
            .map_err(|_| Error::Invalid(format!("{mode:?} is no file mode")))?;
        fs::set_permissions(mount_point, fs::Permissions::from_mode(mode & 0o7777))
            .on("set the mode of", mount_point)?;
    }
    group.map_or(Ok(()), |group| give_to_group(mount_point, group))
}

/// A bind mount takes no flags but `MS_REC`; the others need a second call.
fn bind(storage: &Storage, source: &Path, mount_point: &Path) -> Result<()> {
    let options = Options::parse(storage.options.iter().map(String::as_str));
    if fs::metadata(source).on("find", source)?.is_dir() {
        fs::create_dir_all(mount_point).on("create", mount_point)?;
    } else {
        if let Some(parent) = mount_point.parent() {
            fs::create_dir_all(parent).on("create", parent)?;
        }
        fs::File::options()
            .append(true)
            .create(true)
            .open(mount_point)
            .on("create", mount_point)?;
    }
    let recursive = options.flags & MsFlags::MS_REC;
    mount(
        Some(source),
        mount_point,
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

fn mount_at(source: &Path, mount_point: &Path, kind: &str, options: &Options) -> Result<()> {
    fs::create_dir_all(mount_point).on("create", mount_point)?;
    let data = Some(options.data.as_str()).filter(|data| !data.is_empty());
    mount(Some(source), mount_point, Some(kind), options.flags, data).doing(|| {
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

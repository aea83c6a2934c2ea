//! Snapshots that are block devices or image files.

use std::{
    fs::{self, Metadata},
    os::unix::fs::{FileTypeExt, MetadataExt},
    path::{Path, PathBuf},
};

use super::{Mount, Rootfs, RootfsError, unsupported};

/// File systems that blockfile, devmapper and erofs snapshotters put on a disk.
const ON_DISK: [&str; 4] = ["ext4", "xfs", "btrfs", "erofs"];

/// The disk that `mount` names; `None` if it does not mount a disk.
///
/// Only the mount's own source is ever attached, never a device found from a directory's device
/// number: that would be the disk the snapshotter's directories are on.
pub(super) fn from_mount(mount: &Mount) -> Result<Option<Rootfs>, RootfsError> {
    if !ON_DISK.contains(&mount.fs_type.as_str()) {
        return Ok(None);
    }
    if mount
        .options
        .iter()
        .any(|option| option.starts_with("device="))
    {
        return Err(unsupported(mount, "it needs more than one device"));
    }
    let source = Path::new(&mount.source);
    let has = |wanted: &str| mount.options.iter().any(|option| option == wanted);
    let (path, loop_backed) = if source.starts_with("/dev") {
        (block_device(mount, source)?, false)
    } else {
        (image_file(mount, source, has("loop"))?, true)
    };
    Ok(Some(Rootfs::Block {
        path,
        fs_type: mount.fs_type.clone(),
        read_only: has("ro") || mount.fs_type == "erofs",
        options: mount
            .options
            .iter()
            .filter(|option| !matches!(option.as_str(), "loop" | "ro" | "rw"))
            .cloned()
            .collect(),
        loop_backed,
    }))
}

/// The node of the block device that is the mount's source.
fn block_device(mount: &Mount, source: &Path) -> Result<PathBuf, RootfsError> {
    // /dev/mapper/* are links where udev made them.
    let path = fs::canonicalize(source).map_err(RootfsError::io("Resolving", source))?;
    let meta = fs::symlink_metadata(&path).map_err(RootfsError::io("Examining", &path))?;
    if !meta.file_type().is_block_device() {
        return Err(unsupported(mount, "its source is not a block device"));
    }
    Ok(path)
}

/// The image file that is the mount's source. `looped`: the mount has the option `loop`.
fn image_file(mount: &Mount, source: &Path, looped: bool) -> Result<PathBuf, RootfsError> {
    let meta = examine(source)?;
    let problem = if !meta.is_file() {
        "its source is neither in /dev nor a regular file"
    } else if !looped && mount.fs_type != "erofs" {
        "its source is a file, but it has no option loop"
    } else if !owned(&meta) {
        "its source can be written by other users than root"
    } else {
        return Ok(source.to_owned());
    };
    Err(unsupported(mount, problem))
}

/// The metadata of `path` itself; a link is not followed.
fn examine(path: &Path) -> Result<Metadata, RootfsError> {
    fs::symlink_metadata(path).map_err(RootfsError::io("Opening", path))
}

/// Whether this is a regular file, not a link, that only root can change.
pub(super) fn is_own_file(path: &Path) -> bool {
    examine(path).is_ok_and(|meta| meta.is_file() && owned(&meta))
}

fn owned(meta: &Metadata) -> bool {
    meta.uid() == nix::unistd::geteuid().as_raw() && meta.mode() & 0o022 == 0
}

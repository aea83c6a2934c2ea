#![forbid(unsafe_code)]
//! Turns a container's root file system into disks, since a VM cannot use a directory.
//!
//! A snapshot that is a block device or an image file is attached as it is, also if it is one of
//! several layers. A tree of files is packed once into a read-only erofs image, which is in a
//! [`RootfsCache`].

mod block;
mod cache;
mod encoding;
mod erofs;
mod error;
mod fingerprint;
mod layers;
mod pack;
mod tree;
mod view;

use std::{
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

pub use cache::{LeasedImage, RootfsCache};
pub use error::RootfsError;
use tokio::task::spawn_blocking;
use tree::Tree;

/// How long an image may take, including the wait for another shim that makes the same one.
const TIMEOUT: Duration = Duration::from_secs(600);

/// The most layers of one root that become disks of their own. Each disk needs a port or slot of
/// the VM, and takes the guest time to find.
pub const MOST_LAYERS: usize = 4;

/// A mount as containerd describes it (containerd.types.Mount).
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Mount {
    /// Type of file system, or `bind`.
    pub fs_type: String,
    /// Path of a device, file or directory.
    pub source: String,
    /// Directory below the root file system; empty for the root itself.
    pub target: String,
    /// Options as in fstab.
    pub options: Vec<String>,
}

/// The disks of a root file system.
#[derive(Debug)]
pub enum Rootfs {
    /// A read-only erofs image from the cache.
    Erofs {
        /// The image, which is not evicted until this is dropped. The VMM must have opened it by
        /// then.
        image: LeasedImage,
        /// How long packing took; `None` if the image was in the cache.
        packed: Option<Duration>,
    },
    /// A block device or image file of the snapshotter.
    Block {
        /// Path of the device or file.
        path: PathBuf,
        /// Type of the file system on it.
        fs_type: String,
        /// Whether it may only be read.
        read_only: bool,
        /// Mount options for the guest.
        options: Vec<String>,
        /// Whether it is a regular file, which the host would mount through a loop device.
        loop_backed: bool,
    },
    /// erofs images of the snapshotter, one for each layer.
    Layers {
        /// Paths of the images, the topmost layer first; at least one.
        images: Vec<PathBuf>,
    },
}

impl Rootfs {
    /// Paths of the disks: one, or one for each layer, the topmost first.
    pub fn paths(&self) -> Vec<&Path> {
        match self {
            Self::Erofs { image, .. } => vec![image.path()],
            Self::Block { path, .. } => vec![path],
            Self::Layers { images } => images.iter().map(PathBuf::as_path).collect(),
        }
    }

    /// Whether the VM may only read it.
    pub fn read_only(&self) -> bool {
        match self {
            Self::Erofs { .. } | Self::Layers { .. } => true,
            Self::Block { read_only, .. } => *read_only,
        }
    }
}

/// Turns the mounts that containerd gave for a container's root into disks.
///
/// Each layer that is an image becomes a disk, unless there are more than `most`: then one image is
/// packed from all of them. Without `mounts`, the root is `own`, the directory that the container's
/// bundle names.
///
/// # Errors
/// The mounts cannot be used, or packing failed. No mount and no partial image is left.
pub async fn prepare(
    mounts: &[Mount],
    own: &Path,
    cache: &RootfsCache,
    most: usize,
    log: &slog::Logger,
) -> Result<Rootfs, RootfsError> {
    let tree = match mounts {
        [] => Tree::Directory(own.to_owned()),
        [mount] if mount.target.is_empty() => {
            let mount = mount.clone();
            // Not on the runtime's threads: a host's path may hang.
            let found = spawn_blocking(move || find(&mount, most)).await;
            match found.unwrap_or(Err(RootfsError::Ended))? {
                Found::Disks(rootfs) => return Ok(rootfs),
                Found::Files(tree) => tree,
            }
        }
        [mount] => return Err(unsupported(mount, "it is for a part of the root only")),
        [mount, ..] => return Err(unsupported(mount, "it is one of several mounts")),
    };
    let begun = Instant::now();
    let (image, packed) = obtain(tree, cache.clone()).await?;
    let packed = packed.then(|| begun.elapsed());
    if let Some(packed) = packed {
        slog::info!(log, "root file system packed";
            "image" => %image.path().display(),
            "bytes" => image.bytes(),
            "took_ms" => packed.as_millis());
    } else {
        slog::debug!(log, "root file system found packed"; "image" => %image.path().display());
    }
    Ok(Rootfs::Erofs { image, packed })
}

/// What a mount consists of.
enum Found {
    /// Disks that can be attached as they are.
    Disks(Rootfs),
    /// Files, which must be packed.
    Files(Tree),
}

fn find(mount: &Mount, most: usize) -> Result<Found, RootfsError> {
    if let Some(block) = block::from_mount(mount)? {
        return Ok(Found::Disks(block));
    }
    let tree = Tree::from_mount(mount)?;
    let layers = layers::from_tree(&tree, most)?;
    Ok(layers.map_or(Found::Files(tree), Found::Disks))
}

/// Gets an image from the cache, on a new thread, since the kernel's file locks have no timeout.
/// After the timeout the thread goes on and ends by itself.
async fn obtain(tree: Tree, cache: RootfsCache) -> Result<(LeasedImage, bool), RootfsError> {
    let (answer, answered) = tokio::sync::oneshot::channel();
    std::thread::Builder::new()
        .name("rootfs".to_owned())
        .spawn(move || {
            // After the timeout there is no receiver, and the lease ends here.
            let _ = answer.send(cache.image_of(&tree));
        })
        .map_err(RootfsError::io(
            "Starting a thread for",
            Path::new("mkfs.erofs"),
        ))?;
    match tokio::time::timeout(TIMEOUT, answered).await {
        Ok(Ok(result)) => result,
        Ok(Err(_)) => Err(RootfsError::Ended),
        Err(_) => Err(RootfsError::Timeout {
            waited_for: "an image of the root file system".to_owned(),
            waited: TIMEOUT,
        }),
    }
}

fn unsupported(mount: &Mount, reason: &str) -> RootfsError {
    RootfsError::Unsupported {
        fs_type: mount.fs_type.clone(),
        source_path: mount.source.clone(),
        reason: reason.to_owned(),
    }
}

#[cfg(test)]
mod tests;

#![forbid(unsafe_code)]
//! A container's root file system as something a VM can have: a disk.
//!
//! A snapshot that is a block device or an image file is attached as it is, also where it is one of
//! several layers. A tree of files is made into a read-only erofs image once, and kept in a [`RootfsCache`].

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

/// How long an image may take, the wait for another shim that makes the same one included.
const DEADLINE: Duration = Duration::from_secs(600);

/// Most disks that the layers of one root should be. Each takes a place in the VM and the guest's
/// time to find it.
pub const MOST_LAYERS: usize = 4;

/// A mount as containerd describes it (containerd.types.Mount).
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Mount {
    /// Type of file system, or `bind`.
    pub fs_type: String,
    /// Device, file or directory.
    pub source: String,
    /// Directory below the root file system; empty for the root itself.
    pub target: String,
    /// Options as in fstab.
    pub options: Vec<String>,
}

/// What to attach to the VM.
#[derive(Debug)]
pub enum Rootfs {
    /// A read-only erofs image of the tree, from the cache.
    Erofs {
        /// Keep it until the VMM has opened the image.
        image: LeasedImage,
        /// How long it took to make the image; `None` when it was in the cache.
        packed: Option<Duration>,
    },
    /// The snapshotter's own block device or image file.
    Block {
        /// Its path.
        path: PathBuf,
        /// Type of the file system on it.
        fs_type: String,
        /// Whether it may only be read.
        read_only: bool,
        /// Mount options for the guest.
        options: Vec<String>,
        /// A regular file that the host would mount through a loop device.
        loop_backed: bool,
    },
    /// The snapshotter's own erofs images, one over the other.
    Layers {
        /// Their paths, the topmost first; at least one.
        images: Vec<PathBuf>,
    },
}

impl Rootfs {
    /// What the VMM opens: one disk, or one for each layer, the topmost first.
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

/// Turns what containerd gave for a container's root into a disk.
///
/// Layers that are images become disks each, unless there are more than `most`: then one image is
/// made of them. Without `mounts` the root is `own`, the directory that the bundle names. On an error
/// nothing is left: no mount, no partial image.
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

/// What a mount names.
enum Found {
    /// Disks as they are.
    Disks(Rootfs),
    /// Files, to be made an image of.
    Files(Tree),
}

fn find(mount: &Mount, most: usize) -> Result<Found, RootfsError> {
    if let Some(block) = block::of(mount)? {
        return Ok(Found::Disks(block));
    }
    let tree = Tree::of(mount)?;
    let layers = layers::of(&tree, most)?;
    Ok(layers.map_or(Found::Files(tree), Found::Disks))
}

/// Asks the cache, on a thread of its own: the kernel's file locks block without a deadline, so
/// the thread is left behind when the deadline passes, and ends by itself.
async fn obtain(tree: Tree, cache: RootfsCache) -> Result<(LeasedImage, bool), RootfsError> {
    let (answer, answered) = tokio::sync::oneshot::channel();
    std::thread::Builder::new()
        .name("rootfs".to_owned())
        .spawn(move || {
            // Nobody listens any more: the lease ends here.
            let _ = answer.send(cache.image_of(&tree));
        })
        .map_err(RootfsError::io(
            "Starting a thread for",
            Path::new("mkfs.erofs"),
        ))?;
    match tokio::time::timeout(DEADLINE, answered).await {
        Ok(Ok(result)) => result,
        Ok(Err(_)) => Err(RootfsError::Ended),
        Err(_) => Err(RootfsError::Timeout {
            waited_for: "an image of the root file system".to_owned(),
            waited: DEADLINE,
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

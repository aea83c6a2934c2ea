//! A container's root file system as something a VM can have: a disk.
//!
//! A snapshot that is a block device or an image file is attached as it is. A tree of files is
//! made into a read-only erofs image once, and kept in a [`RootfsCache`].

mod cache;
mod error;

use std::{
    path::{Path, PathBuf},
    time::Duration,
};

pub use cache::{LeasedImage, RootfsCache};
pub use error::RootfsError;

use crate::oci::Bundle;

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
}

impl Rootfs {
    /// What the VMM opens.
    pub fn path(&self) -> &Path {
        match self {
            Self::Erofs { image, .. } => image.path(),
            Self::Block { path, .. } => path,
        }
    }

    /// Whether the VM may only read it.
    pub fn read_only(&self) -> bool {
        match self {
            Self::Erofs { .. } => true,
            Self::Block { read_only, .. } => *read_only,
        }
    }
}

/// Turns what containerd gave for a container's root into a disk.
///
/// Without `mounts` the root is the bundle's own directory ([`Bundle::rootfs`]). On an error
/// nothing is left: no mount, no partial image.
pub async fn prepare(
    mounts: &[Mount],
    bundle: &Bundle,
    cache: &RootfsCache,
    log: &slog::Logger,
) -> Result<Rootfs, RootfsError> {
    let _ = (bundle, cache, log);
    let first = mounts.first().cloned().unwrap_or_default();
    Err(RootfsError::Unsupported {
        fs_type: first.fs_type,
        source_path: first.source,
        reason: "images are not made yet".to_owned(),
    })
}

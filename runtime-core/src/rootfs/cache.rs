//! Images that were made, by what they were made from.

use std::path::{Path, PathBuf};

use super::RootfsError;

/// A directory of images, shared by all shims of a node.
#[derive(Debug, Clone)]
pub struct RootfsCache {
    dir: PathBuf,
    max_bytes: u64,
}

impl RootfsCache {
    /// The cache in `dir`, which is made (mode 0700) if it is absent. Images beyond `max_bytes`
    /// in all are removed, those unused for longest first.
    pub fn open(dir: impl Into<PathBuf>, max_bytes: u64) -> Result<Self, RootfsError> {
        let dir = dir.into();
        Ok(Self { dir, max_bytes })
    }
}

/// An image that the cache will not remove as long as this value lives. The VMM may go on reading
/// it after that, once it has it open.
#[derive(Debug)]
pub struct LeasedImage {
    path: PathBuf,
}

impl LeasedImage {
    /// Path of the image.
    pub fn path(&self) -> &Path {
        &self.path
    }
}

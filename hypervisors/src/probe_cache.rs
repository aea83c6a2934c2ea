//! A file that caches what a probe found, for the next process.

use std::{
    fs, io,
    os::unix::fs::MetadataExt,
    path::{Path, PathBuf},
};

use serde::{Deserialize, Serialize, de::DeserializeOwned};
use system::{
    directory::{self, PRIVATE},
    file,
};

/// The longest file that is read; one has about 2 KiB.
const LIMIT: u64 = 64 << 10;

/// What a result depends on: one binary, during one boot of the host.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Key {
    binary: PathBuf,
    size: u64,
    modified: (i64, i64),
    boot_id: String,
}

impl Key {
    /// The binary at this path, during this boot.
    pub fn new(binary: &Path) -> Option<Self> {
        let metadata = fs::metadata(binary).ok()?;
        let boot_id = fs::read_to_string("/proc/sys/kernel/random/boot_id").ok()?;
        Some(Self {
            binary: binary.to_owned(),
            size: metadata.size(),
            modified: (metadata.mtime(), metadata.mtime_nsec()),
            boot_id: boot_id.trim().to_owned(),
        })
    }
}

impl Default for Key {
    fn default() -> Self {
        Self {
            binary: PathBuf::new(),
            size: 0,
            modified: (0, 0),
            boot_id: String::new(),
        }
    }
}

/// Reads what was cached. A file that is missing, too long or damaged counts as none.
pub fn read<T: DeserializeOwned>(path: &Path) -> Option<T> {
    serde_json::from_slice(&file::read(path, LIMIT).ok()?).ok()
}

/// Replaces the file in one step, so that a reader at the same time sees all of one result.
pub fn replace(path: &Path, entry: &impl Serialize) -> io::Result<()> {
    let parent = path.parent().ok_or(io::ErrorKind::InvalidInput)?;
    let text = serde_json::to_vec(entry)?;
    directory::make_in(parent, PRIVATE, || file::replace(path, &text))
}

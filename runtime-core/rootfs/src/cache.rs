//! Images, named by a key of the content that they were packed from.
//!
//! ```text
//! <dir>/<key>.erofs   an image; a shim that uses it holds a shared lock on it
//! <dir>/locks/<key>   exists while the image is packed; the shim that packs it holds the lock
//! <dir>/view/         empty: a mount point for namespaces of single threads
//! ```

use std::{
    fs::{self, File, FileTimes, Permissions},
    io,
    os::unix::fs::{MetadataExt, PermissionsExt},
    path::{Path, PathBuf},
    time::SystemTime,
};

use nix::{
    errno::Errno,
    fcntl::{Flock, FlockArg},
};
use system::{
    directory::{self, PRIVATE},
    erofs::Superblock,
    file::{self, is_at},
};

use super::{RootfsError, fingerprint::Fingerprint, pack, tree::Tree};

const IMAGE: &str = "erofs";

/// A directory of images, shared by all shims of a node.
#[derive(Debug, Clone)]
pub struct RootfsCache {
    dir: PathBuf,
    max_bytes: u64,
}

impl RootfsCache {
    /// The cache in `dir`, which is made if it is missing, and gets mode 0700. If all images
    /// together take more than `max_bytes`, the least recently used ones are removed, except those
    /// in use.
    ///
    /// # Errors
    /// A directory cannot be made, or belongs to another user.
    pub fn open(dir: impl Into<PathBuf>, max_bytes: u64) -> Result<Self, RootfsError> {
        let cache = Self {
            dir: dir.into(),
            max_bytes,
        };
        for dir in [&cache.dir, &cache.locks(), &cache.view()] {
            make_private(dir).map_err(RootfsError::io("Making", dir))?;
        }
        Ok(cache)
    }

    /// The image of `tree`, and whether it was packed just now. Blocks while another shim packs it.
    pub(super) fn image_of(&self, tree: &Tree) -> Result<(LeasedImage, bool), RootfsError> {
        let fingerprint = Fingerprint::compute(tree)?;
        let path = self.dir.join(&fingerprint.key).with_extension(IMAGE);
        if let Some(image) = lease(&path)? {
            return Ok((image, false));
        }
        let _alone = PackLock::take(self.locks().join(&fingerprint.key))?;
        if let Some(image) = lease(&path)? {
            return Ok((image, false));
        }
        let file = match pack::pack(tree, &self.dir, &self.view()) {
            Err(RootfsError::Full { .. }) if self.evict(0)? > 0 => {
                pack::pack(tree, &self.dir, &self.view())?
            }
            other => other?,
        };
        fingerprint.still_true()?;
        pack::publish(&file, &path, &self.dir)?;
        self.evict(self.max_bytes)?;
        Ok((LeasedImage { path, file }, true))
    }

    /// Removes images without a lease, the least recently used ones first, until all together take
    /// at most `max_bytes`. Returns how many were removed.
    fn evict(&self, max_bytes: u64) -> Result<usize, RootfsError> {
        let mut images = self
            .images()
            .map_err(RootfsError::io("Listing", &self.dir))?;
        images.sort_unstable();
        let mut total: u64 = images.iter().map(|(_, bytes, _)| bytes).sum();
        let mut removed = 0;
        for (_, bytes, path) in images {
            if total <= max_bytes {
                break;
            }
            if remove_unused(&path).map_err(RootfsError::io("Removing", &path))? {
                total -= bytes;
                removed += 1;
            }
        }
        Ok(removed)
    }

    /// Time of last use, size on disk and path of all images.
    fn images(&self) -> io::Result<Vec<(SystemTime, u64, PathBuf)>> {
        let mut images = Vec::new();
        for entry in fs::read_dir(&self.dir)? {
            let path = entry?.path();
            if path.extension().is_none_or(|extension| extension != IMAGE) {
                continue;
            }
            match fs::symlink_metadata(&path) {
                Ok(meta) => images.push((meta.modified()?, meta.blocks() * 512, path)),
                Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                Err(error) => return Err(error),
            }
        }
        Ok(images)
    }

    fn locks(&self) -> PathBuf {
        self.dir.join("locks")
    }

    fn view(&self) -> PathBuf {
        self.dir.join("view")
    }
}

/// An image that is not evicted as long as this value lives. A VMM that has opened it can read it
/// after that, too.
#[derive(Debug)]
pub struct LeasedImage {
    path: PathBuf,
    file: Flock<File>,
}

impl LeasedImage {
    /// Path of the image.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Length of the file in bytes; 0 if that cannot be read.
    pub fn bytes(&self) -> u64 {
        self.file.metadata().map_or(0, |meta| meta.len())
    }
}

impl LeasedImage {
    /// Length of the file system in it, in bytes, as its superblock says; the rest of the file is
    /// empty.
    ///
    /// # Errors
    /// It cannot be read, or the superblock is damaged.
    pub fn content_bytes(&self) -> io::Result<u64> {
        let superblock = Superblock::read(&self.file)?;
        let length = self.file.metadata()?.len();
        superblock
            .and_then(|superblock| superblock.content_bytes())
            .filter(|bytes| *bytes <= length)
            .ok_or_else(|| io::Error::other("its superblock is damaged"))
    }

    /// Extends the file to at least `bytes` by a hole after its content.
    ///
    /// # Errors
    /// The host's file system cannot have files of that length.
    pub fn extend_to(&self, bytes: u64) -> io::Result<()> {
        if self.file.metadata()?.len() < bytes {
            self.file.set_len(bytes)?;
        }
        Ok(())
    }
}

/// Held while an image is packed. The file is removed with the lock; one that a crash left behind
/// is reused.
struct PackLock {
    path: PathBuf,
    _file: Flock<File>,
}

impl PackLock {
    fn take(path: PathBuf) -> Result<Self, RootfsError> {
        let take = || -> io::Result<Flock<File>> {
            loop {
                let file = lock(file::open_or_make(&path)?, FlockArg::LockExclusive)?;
                // Its last holder may have removed the file meanwhile.
                if is_at(&file, &path)? {
                    return Ok(file);
                }
            }
        };
        let file = take().map_err(RootfsError::io("Locking", &path))?;
        Ok(Self { path, _file: file })
    }
}

impl Drop for PackLock {
    fn drop(&mut self) {
        // One that is left does no harm: it is reused.
        let _ = fs::remove_file(&self.path);
    }
}

/// The image at `path`, if there is one. It counts as used now.
fn lease(path: &Path) -> Result<Option<LeasedImage>, RootfsError> {
    let take = || -> io::Result<Option<LeasedImage>> {
        let file = match file::open_to_change(path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            other => lock(other?, FlockArg::LockShared)?,
        };
        if !is_at(&file, path)? {
            return Ok(None);
        }
        if !matches!(Superblock::read(&file), Ok(Some(_))) {
            fs::remove_file(path)?;
            return Ok(None);
        }
        file.set_times(FileTimes::new().set_modified(SystemTime::now()))?;
        Ok(Some(LeasedImage {
            path: path.to_owned(),
            file,
        }))
    };
    take().map_err(RootfsError::io("Opening", path))
}

/// Removes the image at `path` unless it has a lease. Returns whether it was removed.
fn remove_unused(path: &Path) -> io::Result<bool> {
    let file = match file::open_to_change(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(false),
        other => other?,
    };
    match lock(file, FlockArg::LockExclusiveNonblock) {
        Ok(file) if is_at(&file, path)? => fs::remove_file(path).map(|()| true),
        Ok(_) => Ok(false),
        Err(error) if error.kind() == io::ErrorKind::WouldBlock => Ok(false),
        Err(error) => Err(error),
    }
}

fn lock(mut file: File, how: FlockArg) -> io::Result<Flock<File>> {
    loop {
        file = match Flock::lock(file, how) {
            Ok(locked) => return Ok(locked),
            Err((file, Errno::EINTR)) => file,
            Err((_, errno)) => return Err(errno.into()),
        };
    }
}

fn make_private(dir: &Path) -> io::Result<()> {
    directory::ensure(dir, PRIVATE)?;
    let meta = fs::symlink_metadata(dir)?;
    if !meta.is_dir() || meta.uid() != nix::unistd::geteuid().as_raw() {
        return Err(io::Error::other(
            "it is not a directory that belongs to this user",
        ));
    }
    if meta.mode() & 0o077 != 0 {
        fs::set_permissions(dir, Permissions::from_mode(PRIVATE))?;
    }
    Ok(())
}

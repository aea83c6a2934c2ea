//! The key of an image, computed from the tree that it is packed from.
//!
//! A layer of an overlay is identified by its directory's path, device, inode and time of change: a
//! committed snapshot never changes, and another one in its place has another time of change. A
//! directory that may change, or whose file system does not set times of change itself, is
//! identified by its whole content.

use std::{
    collections::{BTreeMap, HashMap},
    fs::{self, Metadata},
    io::{self, Read},
    os::unix::{
        ffi::{OsStrExt, OsStringExt},
        fs::{FileTypeExt, MetadataExt},
    },
    path::{Path, PathBuf},
};

use sha2::{Digest, Sha256};
use system::{encoding::hex, file};

use super::{
    RootfsError,
    encoding::{self, Content, Entry, Target, field, number},
    tree::Tree,
};

/// Must change if the same tree would be packed into a different image.
const FORMAT: &[u8] = b"imprint rootfs 2";

/// File systems whose kernel sets the time of change and never takes it from an image
/// (statfs(2), `f_type`): ext2 to ext4, xfs, btrfs, tmpfs, f2fs, bcachefs, zfs.
const OWN_CHANGE_TIMES: [u64; 7] = [
    0xef53,
    0x5846_5342,
    0x9123_683e,
    0x0102_1994,
    0xf2f5_2010,
    0xca45_1a4e,
    0x2fc1_2fc1,
];

/// Private attributes of overlayfs, which differ between equal layers.
const OVERLAY_PRIVATE: [&str; 6] = ["origin", "impure", "nlink", "upper", "uuid", "protattr"];

/// The key of a tree, and what is needed to notice a change of it.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Fingerprint {
    /// Equal for trees whose images have equal content; 64 hex digits.
    pub(super) key: String,
    /// Directories that were read, with a digest of their files' times of change.
    read: Vec<(PathBuf, [u8; 32])>,
}

impl Fingerprint {
    pub(super) fn compute(tree: &Tree) -> Result<Self, RootfsError> {
        let mut all = Sha256::new();
        field(&mut all, FORMAT);
        let mut read = Vec::new();
        match tree {
            Tree::Directory(dir) => {
                field(&mut all, b"directory");
                add_content(&mut all, dir, &mut read)?;
            }
            Tree::Overlay(overlay) => {
                field(&mut all, b"overlay");
                for option in &overlay.options {
                    field(&mut all, option.as_bytes());
                }
                if let Some(upper) = &overlay.upper {
                    field(&mut all, b"upper");
                    add_content(&mut all, upper, &mut read)?;
                }
                for lower in &overlay.lowers {
                    field(&mut all, b"lower");
                    if !add_identity(&mut all, lower)? {
                        add_content(&mut all, lower, &mut read)?;
                    }
                }
            }
        }
        let key = hex(&all.finalize());
        Ok(Self { key, read })
    }

    /// Fails with [`RootfsError::Changed`] if a directory that was read has changed since.
    pub(super) fn still_true(&self) -> Result<(), RootfsError> {
        for (dir, before) in &self.read {
            if walk(dir, None)? != *before {
                return Err(RootfsError::Changed { path: dir.clone() });
            }
        }
        Ok(())
    }
}

/// Adds a committed layer by its identity. Returns `false` if its file system gives none.
fn add_identity(all: &mut Sha256, dir: &Path) -> Result<bool, RootfsError> {
    let inspect =
        || -> io::Result<_> { Ok((rustix::fs::statfs(dir)?, fs::symlink_metadata(dir)?)) };
    let (file_system, meta) = inspect().map_err(RootfsError::io("Examining", dir))?;
    if !OWN_CHANGE_TIMES.contains(&(file_system.f_type as u64)) {
        return Ok(false);
    }
    field(all, dir.as_os_str().as_bytes());
    for value in [meta.dev(), meta.ino()] {
        number(all, value);
    }
    for value in [meta.ctime(), meta.ctime_nsec()] {
        number(all, value);
    }
    Ok(true)
}

fn add_content(
    all: &mut Sha256,
    dir: &Path,
    read: &mut Vec<(PathBuf, [u8; 32])>,
) -> Result<(), RootfsError> {
    let mut content = Sha256::new();
    let stats = walk(dir, Some(&mut content))?;
    field(all, &content.finalize());
    read.push((dir.to_owned(), stats));
    Ok(())
}

/// Walks the tree at `root` in a fixed order. Returns a digest that differs after any change of a
/// file. Adds to `content`, if given, everything that an image of the tree would store.
fn walk(root: &Path, mut content: Option<&mut Sha256>) -> Result<[u8; 32], RootfsError> {
    let mut stats = Sha256::new();
    let mut links = HashMap::new();
    let mut pending = vec![root.to_owned()];
    let mut count = 0u64;
    let mut device = None;
    while let Some(path) = pending.pop() {
        let fail = |action| RootfsError::io::<io::Error>(action, &path);
        let meta = fs::symlink_metadata(&path).map_err(fail("Examining"))?;
        if count == 0 && !meta.is_dir() {
            return Err(fail("Opening")(io::ErrorKind::NotADirectory.into()));
        }
        // The view of the tree would not contain it.
        if meta.is_dir() && *device.get_or_insert(meta.dev()) != meta.dev() {
            return Err(fail("Entering")(io::ErrorKind::CrossesDevices.into()));
        }
        let name = path
            .strip_prefix(root)
            .unwrap_or(&path)
            .as_os_str()
            .as_bytes();
        field(&mut stats, name);
        number(&mut stats, meta.ino());
        for value in [meta.ctime(), meta.ctime_nsec(), meta.size() as i64] {
            number(&mut stats, value);
        }
        if let Some(content) = content.as_deref_mut() {
            let first = match meta.nlink() {
                2.. if !meta.is_dir() => *links.entry((meta.dev(), meta.ino())).or_insert(count),
                _ => count,
            };
            let target = match count - first {
                0 => Target::File(describe(&path, &meta).map_err(fail("Reading"))?),
                before => Target::Same(before),
            };
            let name = name.to_vec();
            Entry { name, target }.encode(content);
        }
        if meta.is_dir() {
            pending.extend(children(&path).map_err(fail("Listing"))?);
        }
        count += 1;
    }
    Ok(stats.finalize().into())
}

/// In descending order, for a stack that is popped from its end.
fn children(dir: &Path) -> io::Result<Vec<PathBuf>> {
    let entries = fs::read_dir(dir)?.map(|entry| Ok(entry?.path()));
    let mut paths: Vec<PathBuf> = entries.collect::<io::Result<_>>()?;
    paths.sort_unstable_by(|a, b| b.cmp(a));
    Ok(paths)
}

/// Everything that an image stores of one file.
fn describe(path: &Path, meta: &Metadata) -> io::Result<encoding::File> {
    let kind = meta.file_type();
    let content = if kind.is_char_device() || kind.is_block_device() {
        Content::Device(meta.rdev())
    } else if kind.is_symlink() {
        Content::Link(fs::read_link(path)?.into_os_string().into_vec())
    } else if kind.is_file() {
        digest_of(path)?
    } else {
        Content::None
    };
    Ok(encoding::File {
        mode: meta.mode(),
        uid: meta.uid(),
        gid: meta.gid(),
        changed: (!kind.is_dir()).then(|| (meta.mtime(), meta.mtime_nsec())),
        attributes: attributes(path)?,
        content,
    })
}

fn digest_of(path: &Path) -> io::Result<Content> {
    let mut file = file::open_regular(path)?;
    let mut digest = Sha256::new();
    let mut buffer = vec![0; 256 << 10];
    let mut length = 0u64;
    loop {
        match file.read(&mut buffer) {
            Ok(0) => break,
            Ok(read) => {
                digest.update(&buffer[..read]);
                length += read as u64;
            }
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(Content::Bytes {
        length,
        digest: digest.finalize().into(),
    })
}

/// Extended attributes in the order of their names, without overlayfs's private ones.
fn attributes(path: &Path) -> io::Result<BTreeMap<Vec<u8>, Vec<u8>>> {
    let mut names = vec![0; 64 << 10];
    let length = match rustix::fs::llistxattr(path, names.as_mut_slice()) {
        Ok(length) => length,
        Err(rustix::io::Errno::OPNOTSUPP) => 0,
        Err(error) => return Err(error.into()),
    };
    names.truncate(length);
    let mut all = BTreeMap::new();
    for name in names
        .split(|&byte| byte == 0)
        .filter(|name| !name.is_empty())
    {
        if is_overlay_private(name) {
            continue;
        }
        let mut value = vec![0; 64 << 10];
        match rustix::fs::lgetxattr(path, name, value.as_mut_slice()) {
            Ok(length) => {
                value.truncate(length);
                all.insert(name.to_vec(), value);
            }
            Err(error) => return Err(error.into()),
        }
    }
    Ok(all)
}

fn is_overlay_private(name: &[u8]) -> bool {
    let own = name
        .strip_prefix(b"trusted.overlay.")
        .or_else(|| name.strip_prefix(b"user.overlay."));
    own.is_some_and(|own| {
        OVERLAY_PRIVATE
            .iter()
            .any(|private| private.as_bytes() == own)
    })
}

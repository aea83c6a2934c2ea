//! Trees of files against what a mounted image of them shows.

mod caching;
mod content;
mod disks;
mod failures;

use std::{
    collections::BTreeMap,
    fs,
    os::unix::{
        ffi::OsStrExt,
        fs::{FileTypeExt, MetadataExt},
    },
    path::{Path, PathBuf},
    process::Command,
};

use nix::{
    mount::{MsFlags, mount},
    sched::{CloneFlags, unshare},
};

use super::{LeasedImage, RootfsCache, RootfsError, tree::Tree};

const MANY_BYTES: u64 = 1 << 40;

/// Whether images can be made and mounted here; says so if not.
fn possible() -> bool {
    let root = nix::unistd::geteuid().is_root();
    let mkfs = Command::new("mkfs.erofs").arg("--help").output().is_ok();
    let mountable = fs::read_to_string("/proc/filesystems").is_ok_and(|all| all.contains("erofs"));
    if !(root && mkfs && mountable) {
        eprintln!("SKIPPED: root {root}, mkfs.erofs {mkfs}, erofs in the kernel {mountable}");
    }
    root && mkfs && mountable
}

/// Runs `work` on a thread with mounts of its own, so that a failed test leaves none behind.
fn in_namespace<T: Send>(work: impl FnOnce() -> T + Send) -> T {
    std::thread::scope(|scope| {
        let run = || {
            unshare(CloneFlags::CLONE_NEWNS).unwrap();
            let flags = MsFlags::MS_REC | MsFlags::MS_PRIVATE;
            mount(None::<&str>, "/", None::<&str>, flags, None::<&str>).unwrap();
            work()
        };
        scope.spawn(run).join().unwrap()
    })
}

/// Runs a program that has to succeed.
fn run(program: &str, arguments: &[&str]) {
    let output = Command::new(program).args(arguments).output().unwrap();
    let words = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(output.status.success(), "{program} {arguments:?}: {words}");
}

fn text(path: &Path) -> &str {
    path.to_str().unwrap()
}

/// All that is to survive of one file.
#[derive(Debug, PartialEq, Eq)]
struct Seen {
    mode: u32,
    owner: (u32, u32),
    links: u64,
    device: u64,
    modified: (i64, i64),
    attributes: BTreeMap<String, Vec<u8>>,
    content: Vec<u8>,
}

/// All files below `root`. Overlayfs counts the links of a directory in its own way, and a mount
/// gives the root a time of its own.
fn seen(root: &Path) -> BTreeMap<Vec<u8>, Seen> {
    let mut all = BTreeMap::new();
    let mut pending = vec![root.to_owned()];
    while let Some(path) = pending.pop() {
        let meta = fs::symlink_metadata(&path).unwrap();
        let kind = meta.file_type();
        if kind.is_dir() {
            pending.extend(
                fs::read_dir(&path)
                    .unwrap()
                    .map(|entry| entry.unwrap().path()),
            );
        }
        let content = if kind.is_file() {
            fs::read(&path).unwrap()
        } else if kind.is_symlink() {
            fs::read_link(&path)
                .unwrap()
                .as_os_str()
                .as_bytes()
                .to_vec()
        } else {
            Vec::new()
        };
        let special = kind.is_char_device() || kind.is_block_device();
        let name = path
            .strip_prefix(root)
            .unwrap()
            .as_os_str()
            .as_bytes()
            .to_vec();
        let is_root = name.is_empty();
        let seen = Seen {
            mode: meta.mode(),
            owner: (meta.uid(), meta.gid()),
            links: if kind.is_dir() { 0 } else { meta.nlink() },
            device: if special { meta.rdev() } else { 0 },
            modified: if is_root {
                (0, 0)
            } else {
                (meta.mtime(), meta.mtime_nsec())
            },
            attributes: attributes(&path),
            content,
        };
        all.insert(name, seen);
    }
    all
}

fn attributes(path: &Path) -> BTreeMap<String, Vec<u8>> {
    let mut names = vec![0; 65536];
    let length = rustix::fs::llistxattr(path, names.as_mut_slice()).unwrap_or(0);
    let names = String::from_utf8(names[..length].to_vec()).unwrap();
    let value = |name: &str| {
        let mut value = vec![0; 65536];
        let length = rustix::fs::lgetxattr(path, name, value.as_mut_slice()).unwrap();
        value.truncate(length);
        value
    };
    let names = names.split_terminator('\0');
    names.map(|name| (name.to_owned(), value(name))).collect()
}

/// What a mounted image shows. Call it in a namespace of the test's own.
fn seen_in_image(image: &Path, point: &Path) -> BTreeMap<Vec<u8>, Seen> {
    run(
        "mount",
        &["-t", "erofs", "-o", "ro,loop", text(image), text(point)],
    );
    let seen = seen(point);
    run("umount", &[text(point)]);
    seen
}

/// A cache of its own in a directory of its own.
struct Fixture {
    dir: tempfile::TempDir,
    cache: RootfsCache,
}

impl Fixture {
    fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let cache = RootfsCache::open(dir.path().join("cache"), MANY_BYTES).unwrap();
        Self { dir, cache }
    }

    /// A new directory with one file in it.
    fn tree(&self, name: &str, content: &str) -> PathBuf {
        let path = self.dir.path().join(name);
        fs::create_dir(&path).unwrap();
        fs::write(path.join("file"), content).unwrap();
        path
    }

    fn image_of(&self, tree: &Path) -> Result<(LeasedImage, bool), RootfsError> {
        self.cache.image_of(&Tree::Directory(tree.to_owned()))
    }

    /// Names of the files in the cache, without its sub-directories.
    fn files(&self) -> Vec<String> {
        files_in(&self.dir.path().join("cache"))
    }
}

fn files_in(dir: &Path) -> Vec<String> {
    let entries = fs::read_dir(dir).unwrap().map(|entry| entry.unwrap());
    let files = entries.filter(|entry| entry.file_type().unwrap().is_file());
    files
        .map(|entry| entry.file_name().into_string().unwrap())
        .collect()
}

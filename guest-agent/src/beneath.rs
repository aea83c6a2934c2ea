//! Paths below a directory that containers can write to.
//!
//! They are opened without following links and then used by descriptor, so a container cannot
//! replace what was checked before it is used.

use std::{
    io,
    os::fd::{AsFd, AsRawFd, OwnedFd},
    path::{Component, Path, PathBuf},
};

use nix::{
    errno::Errno,
    fcntl::{OFlag, OpenHow, ResolveFlag, openat2},
    sys::stat::{Mode, fchmod, fstat, mkdirat},
    unistd::{Gid, Uid, fchown},
};

use crate::error::{Doing, Error, Result};

/// Mode and owner of a directory that has to be made. Without a user or group it has the agent's.
#[derive(Debug, Clone, Copy)]
pub struct NewDirectory {
    pub mode: u32,
    pub user: Option<Uid>,
    pub group: Option<Gid>,
}

impl NewDirectory {
    /// Root's, with the mode 0755.
    pub const PLAIN: Self = Self::with_mode(0o755);

    /// Root's, with this mode.
    pub const fn with_mode(mode: u32) -> Self {
        Self {
            mode,
            user: None,
            group: None,
        }
    }
}

/// Opens `name` below `directory`. Fails when a part of it, the last included, is a link.
pub fn open_at(
    directory: impl AsFd,
    name: &Path,
    flags: OFlag,
    mode: Mode,
) -> nix::Result<OwnedFd> {
    let how = OpenHow::new()
        .flags(flags | OFlag::O_CLOEXEC)
        .mode(mode)
        .resolve(
            ResolveFlag::RESOLVE_BENEATH
                | ResolveFlag::RESOLVE_NO_SYMLINKS
                | ResolveFlag::RESOLVE_NO_MAGICLINKS,
        );
    openat2(directory, name, how)
}

/// Opens a directory in another one; makes it if there is nothing.
pub fn open_or_make(directory: impl AsFd, name: &str, new: NewDirectory) -> io::Result<OwnedFd> {
    let owned_by_root = new.user.is_none() && new.group.is_none();
    // Only the agent may use it until it has its owner.
    let first_mode = match owned_by_root {
        true => Mode::from_bits_truncate(new.mode & 0o777),
        false => Mode::S_IRWXU,
    };
    let made = match mkdirat(directory.as_fd(), name, first_mode) {
        Ok(()) => true,
        Err(Errno::EEXIST) => false,
        Err(errno) => return Err(errno.into()),
    };
    let flags = OFlag::O_DIRECTORY | OFlag::O_RDONLY;
    let inside = open_at(directory, Path::new(name), flags, Mode::empty())?;
    if made && !owned_by_root {
        fchown(&inside, new.user, new.group)?;
    }
    let mode = new.mode & 0o7777;
    // The umask or a parent's set-group-ID bit may have changed it.
    if made && fstat(&inside)?.st_mode & 0o7777 != mode {
        fchmod(&inside, Mode::from_bits_truncate(mode))?;
    }
    Ok(inside)
}

/// The names in `path` below `base`; at least one.
///
/// # Errors
///
/// When `path` is not below `base`, or has a part such as `..`.
pub fn parts<'a>(base: &Path, path: &'a Path) -> Result<Vec<&'a str>> {
    let shown = path.display();
    let relative = path
        .strip_prefix(base)
        .map_err(|_| Error::Invalid(format!("{shown} is not below {}", base.display())))?;
    let parts: Option<Vec<&str>> = relative
        .components()
        .map(|part| match part {
            Component::Normal(name) => name.to_str().filter(|name| !name.contains('\0')),
            _ => None,
        })
        .collect();
    match parts {
        Some(parts) if !parts.is_empty() => Ok(parts),
        Some(_) => Err(Error::Invalid(format!("{shown} has no name"))),
        None => Err(Error::Invalid(format!("{shown} is not a plain path"))),
    }
}

/// Opens what is at `path` below `base` with `O_PATH`: to be mounted or named, not to be read.
pub fn find(base: &Path, path: &Path) -> Result<OwnedFd> {
    let name: PathBuf = parts(base, path)?.into_iter().collect();
    let directory = open_base(base)?;
    open_at(directory, &name, OFlag::O_PATH, Mode::empty()).on("find", path)
}

/// Opens the directory at `path` below `base`; makes it and its parents where there is nothing.
pub fn directory(base: &Path, path: &Path, new: NewDirectory) -> Result<OwnedFd> {
    descend(open_base(base)?, &parts(base, path)?, new).on("create", path)
}

/// Like [`directory`], but something that exists may be of any kind.
pub fn find_or_make(base: &Path, path: &Path, new: NewDirectory) -> Result<OwnedFd> {
    match find(base, path) {
        Err(Error::System { source, .. }) if source.kind() == io::ErrorKind::NotFound => {
            directory(base, path, new)
        }
        other => other,
    }
}

/// Opens the parent directory of `path` below `base`, and returns the last name with it.
pub fn parent<'a>(base: &Path, path: &'a Path) -> Result<(OwnedFd, &'a str)> {
    let (parents, name) = split(base, path)?;
    let (base, flags) = (open_base(base)?, OFlag::O_DIRECTORY | OFlag::O_RDONLY);
    if parents.is_empty() {
        return Ok((base, name));
    }
    let parents: PathBuf = parents.into_iter().collect();
    let directory = open_at(base, &parents, flags, Mode::empty()).on("find the parent of", path)?;
    Ok((directory, name))
}

/// Like [`find`]; where there is nothing, makes an empty file and its parent directories.
pub fn file(base: &Path, path: &Path) -> Result<OwnedFd> {
    match find(base, path) {
        Err(Error::System { source, .. }) if source.kind() == io::ErrorKind::NotFound => {}
        other => return other,
    }
    let (parents, name) = split(base, path)?;
    let parent = descend(open_base(base)?, &parents, NewDirectory::PLAIN).on("create", path)?;
    // Exclusive: opening what a container has put there meanwhile, such as a FIFO, could block.
    let flags = OFlag::O_CREAT | OFlag::O_EXCL | OFlag::O_WRONLY | OFlag::O_NONBLOCK;
    let mode = Mode::from_bits_truncate(0o644);
    open_at(&parent, Path::new(name), flags, mode).on("create", path)
}

fn split<'a>(base: &Path, path: &'a Path) -> Result<(Vec<&'a str>, &'a str)> {
    let mut parts = parts(base, path)?;
    match parts.pop() {
        Some(name) => Ok((parts, name)),
        None => Err(Error::Invalid(format!("{} has no name", path.display()))),
    }
}

/// Opens `names` below `directory`, one in the other; makes the directories that are missing.
pub fn descend(mut directory: OwnedFd, names: &[&str], new: NewDirectory) -> io::Result<OwnedFd> {
    for name in names {
        directory = open_or_make(&directory, name, new)?;
    }
    Ok(directory)
}

/// Opens the directory itself; no container can replace it.
pub fn open_base(base: &Path) -> Result<OwnedFd> {
    std::fs::create_dir_all(base).on("create", base)?;
    let file = std::fs::File::open(base).on("open", base)?;
    Ok(file.into())
}

/// A path that names an open file or directory, whatever is at its old path by now.
pub fn descriptor_path(descriptor: &impl AsFd) -> PathBuf {
    PathBuf::from(format!("/proc/self/fd/{}", descriptor.as_fd().as_raw_fd()))
}

#[cfg(test)]
mod tests {
    use std::{
        fs,
        os::unix::fs::{PermissionsExt, symlink},
    };

    use super::*;

    fn mode(path: &Path) -> u32 {
        fs::metadata(path).unwrap().permissions().mode() & 0o7777
    }

    #[test]
    fn only_missing_directories_are_made() {
        let base = tempfile::tempdir().unwrap();
        let path = base.path().join("a/b");
        directory(base.path(), &path, NewDirectory::with_mode(0o2770)).unwrap();
        assert_eq!(mode(&path), 0o2770);
        directory(base.path(), &path, NewDirectory::PLAIN).unwrap();
        assert_eq!(mode(&path), 0o2770);
        let file = path.join("file");
        fs::write(&file, "x").unwrap();
        let found = find_or_make(base.path(), &file, NewDirectory::PLAIN).unwrap();
        assert_eq!(fs::read(descriptor_path(&found)).unwrap(), b"x");
        assert!(directory(base.path(), &file, NewDirectory::PLAIN).is_err());
        assert!(find(base.path(), &path.join("absent")).is_err());
    }

    #[test]
    fn a_parent_is_found_and_never_made() {
        let base = tempfile::tempdir().unwrap();
        fs::create_dir(base.path().join("a")).unwrap();
        for path in ["top", "a/below"] {
            let path = base.path().join(path);
            let (_, name) = parent(base.path(), &path).unwrap();
            assert!(path.ends_with(name));
        }
        assert!(parent(base.path(), &base.path().join("b/c/d")).is_err());
        assert!(!base.path().join("b").exists());
    }

    #[test]
    fn a_file_is_made_only_where_nothing_is() {
        let base = tempfile::tempdir().unwrap();
        let new = base.path().join("a/b");
        file(base.path(), &new).unwrap();
        fs::write(&new, "kept").unwrap();
        file(base.path(), &new).unwrap();
        assert_eq!(fs::read(&new).unwrap(), b"kept");
        // Without a reader, opening it to write would block.
        let pipe = base.path().join("pipe");
        nix::unistd::mkfifo(&pipe, Mode::S_IRWXU).unwrap();
        file(base.path(), &pipe).unwrap();
        symlink("/absent", base.path().join("link")).unwrap();
        assert!(file(base.path(), &base.path().join("link")).is_err());
    }

    #[test]
    fn links_are_not_followed() {
        let outside = tempfile::tempdir().unwrap();
        let base = tempfile::tempdir().unwrap();
        fs::create_dir(outside.path().join("there")).unwrap();
        fs::set_permissions(outside.path(), fs::Permissions::from_mode(0o750)).unwrap();
        symlink(outside.path(), base.path().join("x")).unwrap();
        for path in ["x", "x/there", "x/new", "x/new/deep"] {
            let path = base.path().join(path);
            let new = NewDirectory::with_mode(0o777);
            assert!(find(base.path(), &path).is_err(), "{path:?}");
            assert!(directory(base.path(), &path, new).is_err(), "{path:?}");
            assert!(find_or_make(base.path(), &path, new).is_err(), "{path:?}");
        }
        assert_eq!(mode(outside.path()), 0o750);
        assert_eq!(fs::read_dir(outside.path()).unwrap().count(), 1);
    }

    #[test]
    fn only_plain_paths_below_the_base_have_parts() {
        let base = Path::new("/run/x");
        assert_eq!(parts(base, Path::new("/run/x/a/b")).unwrap(), ["a", "b"]);
        for wrong in ["/run/x", "/run/y/a", "/run/x/../y", "a", "/run/x/a/../../b"] {
            assert!(parts(base, Path::new(wrong)).is_err(), "{wrong}");
        }
    }
}

//! Files that the host copies into the guest: there is no shared file system.

mod versions;

use std::{
    fs::File,
    io::{self, Seek},
    os::{
        fd::{AsFd, OwnedFd},
        unix::fs::FileExt,
    },
    path::Path,
};

use agent_client::agent::CopyFileRequest;
use nix::{
    fcntl::{AtFlags, OFlag, readlinkat, renameat},
    sys::stat::{Mode, SFlag, fchmod},
    unistd::{Gid, Uid, UnlinkatFlags, fchown, fchownat, symlinkat, unlinkat},
};

use crate::{
    beneath::{self, NewDirectory, open_at, open_or_make},
    error::{Doing, Error, Result},
};

/// Where files are copied to, below the agent's directory.
pub const DIRECTORY: &str = "shared/containers";
/// Size of the largest file that is accepted, in bytes: copied files are in the guest's RAM.
const MAX_SIZE: i64 = 1 << 30;
/// Suffix of a file's name until the file is complete.
const PART: &str = ".part";

/// Writes a piece of a file, a directory or a symbolic link below `base`.
///
/// A new file gets its name when its last piece has been written. If the name exists, the existing
/// file is overwritten then and not replaced, since a container may have it mounted. No symbolic
/// link is followed: containers can write below `base`, too.
///
/// # Errors
///
/// When the path is not below `base`, the piece is not within the file's size, the mode is that of
/// another kind of file, or a system call fails.
pub fn copy(base: &Path, request: &CopyFileRequest) -> Result<()> {
    let path = Path::new(&request.path);
    let parts = beneath::parts(base, path)?;
    let Some((name, parents)) = parts.split_last() else {
        return Err(Error::Invalid(format!("{:?} has no name", request.path)));
    };
    let parent = parent_mode(request.dir_mode);
    let directory =
        beneath::descend(beneath::open_base(base)?, parents, parent).on("create", path)?;
    let mode = request.file_mode & 0o7777;
    match SFlag::from_bits_truncate(request.file_mode) & SFlag::S_IFMT {
        SFlag::S_IFDIR => {
            let made = open_or_make(&directory, name, parent_mode(request.file_mode))
                .on("create", path)?;
            set_owner(made.as_fd(), request).on("set the owner of", path)
        }
        SFlag::S_IFLNK => link(&directory, name, request).on("link", path),
        kind if kind.is_empty() || kind == SFlag::S_IFREG => {
            file(&directory, name, mode, request).on("write", path)
        }
        _ => Err(Error::Invalid(format!(
            "{:?} is not a file, a directory or a symbolic link",
            request.path
        ))),
    }
}

/// A directory with the mode of the request, or with 0755 if the request has none.
fn parent_mode(mode: u32) -> NewDirectory {
    match mode & 0o7777 {
        0 => NewDirectory::PLAIN,
        mode => NewDirectory::with_mode(mode),
    }
}

fn open(directory: &OwnedFd, name: &str, flags: OFlag, mode: Mode) -> nix::Result<OwnedFd> {
    open_at(directory, Path::new(name), flags, mode)
}

fn link(directory: &OwnedFd, name: &str, request: &CopyFileRequest) -> io::Result<()> {
    let target = std::str::from_utf8(&request.data).map_err(io::Error::other)?;
    let part = format!("{name}{PART}");
    let _not_there = unlinkat(directory, part.as_str(), UnlinkatFlags::NoRemoveDir);
    symlinkat(target, directory, part.as_str())?;
    let (user, group) = owner(request);
    fchownat(
        directory,
        part.as_str(),
        user,
        group,
        AtFlags::AT_SYMLINK_NOFOLLOW,
    )?;
    let before = readlinkat(directory, name).ok();
    renameat(directory, part.as_str(), directory, name)?;
    if let Some(before) = before.filter(|before| before.as_os_str() != target) {
        versions::remove_old(directory, name, &before);
    }
    Ok(())
}

/// Writes a piece of a file; after the last piece the file gets its name, mode and owner.
fn file(directory: &OwnedFd, name: &str, mode: u32, request: &CopyFileRequest) -> io::Result<()> {
    let length = i64::try_from(request.data.len()).unwrap_or(i64::MAX);
    let end = request.offset.saturating_add(length);
    if request.offset < 0 || end > request.file_size || request.file_size > MAX_SIZE {
        return Err(io::Error::from(io::ErrorKind::InvalidInput));
    }
    let part = format!("{name}{PART}");
    let file = open_part(directory, &part, request.offset == 0)?;
    file.write_all_at(&request.data, request.offset.unsigned_abs())?;
    if end < request.file_size {
        return Ok(());
    }
    let existing = existing_file(directory, name);
    let last = existing.as_ref().unwrap_or(&file);
    if existing.is_some() {
        overwrite(last, file.try_clone()?, end.unsigned_abs())?;
    }
    set_owner(last.as_fd(), request)?;
    fchmod(last, Mode::from_bits_truncate(mode))?;
    let part = part.as_str();
    match existing {
        Some(_) => unlinkat(directory, part, UnlinkatFlags::NoRemoveDir)?,
        None => renameat(directory, part, directory, name)?,
    }
    Ok(())
}

/// Opens the incomplete file; creates it, or empties it, for the first piece.
fn open_part(directory: &OwnedFd, part: &str, first: bool) -> io::Result<File> {
    let (create, mode) = match first {
        true => (
            OFlag::O_CREAT | OFlag::O_TRUNC,
            Mode::S_IRUSR | Mode::S_IWUSR,
        ),
        false => (OFlag::empty(), Mode::empty()),
    };
    // A container may have put something else there: opening it must not block, and it is not
    // written to unless it is a file.
    let flags = create | OFlag::O_RDWR | OFlag::O_NONBLOCK;
    let file: File = open(directory, part, flags, mode)?.into();
    if !file.metadata()?.is_file() {
        let other = format!("{part} exists and is not a regular file");
        return Err(io::Error::new(io::ErrorKind::InvalidInput, other));
    }
    Ok(file)
}

/// Opens the regular file `name`, if there is one that can be written to.
fn existing_file(directory: &OwnedFd, name: &str) -> Option<File> {
    let flags = OFlag::O_WRONLY | OFlag::O_NOFOLLOW | OFlag::O_NONBLOCK;
    let file = File::from(open(directory, name, flags, Mode::empty()).ok()?);
    file.metadata()
        .is_ok_and(|found| found.is_file())
        .then_some(file)
}

/// Truncates last: a reader sees the old content or the new, for a moment both, but never nothing.
fn overwrite(mut existing: &File, mut from: File, length: u64) -> io::Result<()> {
    from.rewind()?;
    io::copy(&mut from, &mut existing)?;
    existing.set_len(length)
}

fn set_owner(file: std::os::fd::BorrowedFd<'_>, request: &CopyFileRequest) -> io::Result<()> {
    let (user, group) = owner(request);
    Ok(fchown(file, user, group)?)
}

/// The user and group of a request; `None` for a negative number, which leaves them as they are.
fn owner(request: &CopyFileRequest) -> (Option<Uid>, Option<Gid>) {
    let user = u32::try_from(request.uid).ok().map(Uid::from_raw);
    let group = u32::try_from(request.gid).ok().map(Gid::from_raw);
    (user, group)
}

#[cfg(test)]
mod tests {
    use std::{
        fs,
        os::unix::fs::{PermissionsExt, symlink},
    };

    use super::*;

    fn request(path: &Path, mode: u32, data: &[u8]) -> CopyFileRequest {
        CopyFileRequest {
            path: path.to_str().unwrap().into(),
            file_size: i64::try_from(data.len()).unwrap(),
            file_mode: mode,
            dir_mode: 0o750,
            uid: -1,
            gid: -1,
            data: data.to_vec(),
            ..Default::default()
        }
    }

    #[test]
    fn a_file_gets_its_name_when_it_is_complete() {
        let base = tempfile::tempdir().unwrap();
        let path = base.path().join("a/b");
        let mut first = request(&path, 0o100_640, b"hel");
        first.file_size = 5;
        copy(base.path(), &first).unwrap();
        assert!(!path.exists());
        let mut second = request(&path, 0o100_640, b"lo");
        (second.file_size, second.offset) = (5, 3);
        copy(base.path(), &second).unwrap();
        assert_eq!(fs::read(&path).unwrap(), b"hello");
        assert_eq!(
            fs::metadata(&path).unwrap().permissions().mode() & 0o7777,
            0o640
        );
        let parent = fs::metadata(base.path().join("a")).unwrap();
        assert_eq!(parent.permissions().mode() & 0o7777, 0o750);
    }

    #[test]
    fn only_a_regular_file_is_written_to() {
        let base = tempfile::tempdir().unwrap();
        let part = base.path().join("x.part");
        nix::unistd::mkfifo(&part, Mode::S_IRWXU).unwrap();
        let wanted = request(&base.path().join("x"), 0o100_644, b"abc");
        let error = copy(base.path(), &wanted).unwrap_err().chain();
        assert!(error.contains("not a regular file"), "{error}");
        assert!(part.exists() && !base.path().join("x").exists());
    }

    #[test]
    fn an_existing_file_is_overwritten_and_not_replaced() {
        let base = tempfile::tempdir().unwrap();
        let path = base.path().join("hosts");
        copy(
            base.path(),
            &request(&path, 0o100_644, b"a long first version"),
        )
        .unwrap();
        let mounted = File::open(&path).unwrap();
        copy(base.path(), &request(&path, 0o100_600, b"short")).unwrap();
        assert_eq!(io::read_to_string(mounted).unwrap(), "short");
        assert_eq!(
            fs::metadata(&path).unwrap().permissions().mode() & 0o7777,
            0o600
        );
        assert_eq!(fs::read_dir(base.path()).unwrap().count(), 1);
    }

    #[test]
    fn the_previous_version_is_removed_with_its_links() {
        let base = tempfile::tempdir().unwrap();
        let at = |name: &str| base.path().join("volume").join(name);
        let link =
            |name: &str, to: &str| copy(base.path(), &request(&at(name), 0o120_777, to.as_bytes()));
        for (version, file) in [("..1", "old"), ("..2", "new")] {
            copy(
                base.path(),
                &request(&at(&format!("{version}/{file}")), 0o100_644, b"x"),
            )
            .unwrap();
            link("..data", version).unwrap();
            link(file, &format!("..data/{file}")).unwrap();
        }
        let mut names: Vec<_> = fs::read_dir(base.path().join("volume"))
            .unwrap()
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .collect();
        names.sort_unstable();
        assert_eq!(names, ["..2", "..data", "new"]);
    }

    #[test]
    fn links_and_directories_are_made() {
        let base = tempfile::tempdir().unwrap();
        copy(
            base.path(),
            &request(&base.path().join("d"), 0o040_711, b""),
        )
        .unwrap();
        for target in ["one", "two"] {
            copy(
                base.path(),
                &request(&base.path().join("l"), 0o120_777, target.as_bytes()),
            )
            .unwrap();
        }
        assert_eq!(
            fs::read_link(base.path().join("l")).unwrap(),
            Path::new("two")
        );
        let directory = fs::metadata(base.path().join("d")).unwrap();
        assert_eq!(directory.permissions().mode() & 0o7777, 0o711);
    }

    #[test]
    fn nothing_is_written_elsewhere() {
        let outside = tempfile::tempdir().unwrap();
        let base = tempfile::tempdir().unwrap();
        symlink(outside.path(), base.path().join("way-out")).unwrap();
        for path in [
            outside.path().join("x"),
            base.path().join("../x"),
            base.path().join("way-out/x"),
            base.path().to_owned(),
        ] {
            assert!(
                copy(base.path(), &request(&path, 0o100_600, b"x")).is_err(),
                "{path:?}"
            );
        }
        let mut beyond = request(&base.path().join("x"), 0o100_600, b"x");
        beyond.file_size = 0;
        assert!(copy(base.path(), &beyond).is_err());
        assert!(
            copy(
                base.path(),
                &request(&base.path().join("dev"), 0o060_600, b"")
            )
            .is_err()
        );
        assert_eq!(fs::read_dir(outside.path()).unwrap().count(), 0);
    }
}

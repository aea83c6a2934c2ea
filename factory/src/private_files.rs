//! Opening what lies in a template directory: only what is ours, private, and what it should be.

use std::{
    fs::{File, Metadata, OpenOptions},
    io,
    os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt, PermissionsExt},
    path::Path,
};

use nix::{fcntl::OFlag, unistd::geteuid};

use crate::unusable::Unusable;

/// Makes a directory that no other user can look into.
pub(crate) fn make_dir(path: &Path) -> io::Result<()> {
    std::fs::DirBuilder::new().mode(0o700).create(path)
}

/// Opens a directory, if it is one (no link), ours and private.
pub(crate) fn open_dir(path: &Path) -> Result<File, Unusable> {
    open(path, OFlag::O_DIRECTORY)
}

/// Opens a regular file for reading, if it is one (no link), ours and private.
pub(crate) fn open_file(path: &Path) -> Result<(File, Metadata), Unusable> {
    // Without O_NONBLOCK a fifo in a file's place would block the open.
    let file = open(path, OFlag::O_NONBLOCK)?;
    let meta = file
        .metadata()
        .map_err(|e| Unusable::unreadable(path, &e))?;
    if meta.is_file() {
        Ok((file, meta))
    } else {
        Err(Unusable::Damaged {
            what: format!("{} is not a regular file", path.display()),
        })
    }
}

fn open(path: &Path, flags: OFlag) -> Result<File, Unusable> {
    let flags = flags | OFlag::O_NOFOLLOW;
    let file = OpenOptions::new()
        .read(true)
        .custom_flags(flags.bits())
        .open(path)
        .map_err(|e| Unusable::unreadable(path, &e))?;
    let meta = file
        .metadata()
        .map_err(|e| Unusable::unreadable(path, &e))?;
    let (mode, owner) = (meta.permissions().mode() & 0o7777, meta.uid());
    if mode & 0o077 != 0 || owner != geteuid().as_raw() {
        return Err(Unusable::NotPrivate {
            path: path.to_owned(),
            mode,
            owner,
        });
    }
    Ok(file)
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use super::*;

    #[test]
    fn only_private_regular_files_are_opened() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("state");
        std::fs::write(&path, b"x").unwrap();
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o640)).unwrap();
        assert!(matches!(
            open_file(&path),
            Err(Unusable::NotPrivate { mode: 0o640, .. })
        ));
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o600)).unwrap();
        assert!(open_file(&path).is_ok());

        let link = dir.path().join("link");
        symlink(&path, &link).unwrap();
        assert!(matches!(open_file(&link), Err(Unusable::Unreadable { .. })));

        let fifo = dir.path().join("fifo");
        nix::unistd::mkfifo(&fifo, nix::sys::stat::Mode::from_bits_truncate(0o600)).unwrap();
        assert!(matches!(open_file(&fifo), Err(Unusable::Damaged { .. })));
        assert!(matches!(open_dir(&path), Err(Unusable::Unreadable { .. })));
    }
}

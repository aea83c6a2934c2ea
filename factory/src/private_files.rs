//! Opens files of a template directory, if they belong to this user, are closed to all others, and
//! are of the expected kind.

use std::{
    fs::{File, Metadata},
    io,
    os::unix::fs::{MetadataExt, PermissionsExt},
    path::Path,
};

use nix::unistd::geteuid;
use system::{
    directory::{self, PRIVATE},
    file,
};

use crate::unusable::Unusable;

/// Makes a directory with mode 0700.
pub(crate) fn make_dir(path: &Path) -> io::Result<()> {
    directory::make_single(path, PRIVATE)
}

/// Opens a directory, if it is a directory (no link), this user's and private.
pub(crate) fn open_dir(path: &Path) -> Result<File, Unusable> {
    checked(path, directory::open(path)).map(|(dir, _)| dir)
}

/// Opens a file for reading, if it is a regular file (no link), this user's and private.
pub(crate) fn open_file(path: &Path) -> Result<(File, Metadata), Unusable> {
    let (file, meta) = checked(path, file::open(path))?;
    if meta.is_file() {
        Ok((file, meta))
    } else {
        Err(Unusable::Damaged {
            what: format!("{} is not a regular file", path.display()),
        })
    }
}

fn checked(path: &Path, opened: io::Result<File>) -> Result<(File, Metadata), Unusable> {
    let opened = opened.and_then(|file| Ok((file.metadata()?, file)));
    let (meta, file) = opened.map_err(|e| Unusable::unreadable(path, &e))?;
    let (mode, owner) = (meta.permissions().mode() & 0o7777, meta.uid());
    if mode & 0o077 != 0 || owner != geteuid().as_raw() {
        return Err(Unusable::NotPrivate {
            path: path.to_owned(),
            mode,
            owner,
        });
    }
    Ok((file, meta))
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

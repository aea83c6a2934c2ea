//! Files of this process's own, and files that another may have put something else in the place of.
//!
//! What is opened here is what has the name: a link is refused, not followed, and a fifo or a device
//! does not hold the caller up. What is made here is closed to other users (mode 0600). What is read
//! here is bounded.

use std::{
    ffi::OsString,
    fs::{self, File, OpenOptions},
    io::{self, ErrorKind, Read, Write},
    os::unix::fs::{OpenOptionsExt, symlink},
    path::{Path, PathBuf},
};

use crate::{encoding::hex, random};

const PRIVATE: u32 = 0o600;

/// Opens what has this name, whatever it is, for reading. A directory is opened too.
///
/// # Errors
/// As of open(2); a link is `ELOOP` ([`ErrorKind::FilesystemLoop`]).
pub fn open(path: &Path) -> io::Result<File> {
    held_up_by_nothing().read(true).open(path)
}

/// Opens a regular file for reading.
///
/// # Errors
/// As [`open`]; it is something else ([`ErrorKind::InvalidInput`]).
pub fn open_regular(path: &Path) -> io::Result<File> {
    regular(open(path)?)
}

/// Opens a file for reading and writing, and makes an empty one where there is none. For locks, and
/// for what is changed in place.
///
/// # Errors
/// As of open(2).
pub fn open_or_make(path: &Path) -> io::Result<File> {
    held_up_by_nothing()
        .read(true)
        .write(true)
        .create(true)
        .truncate(false)
        .open(path)
}

/// Opens a file for writing behind what it has, and makes an empty one where there is none.
///
/// # Errors
/// As of open(2).
pub fn open_to_append(path: &Path) -> io::Result<File> {
    held_up_by_nothing().append(true).create(true).open(path)
}

/// Opens a file that is there for reading and writing.
///
/// # Errors
/// As of open(2).
pub fn open_to_change(path: &Path) -> io::Result<File> {
    held_up_by_nothing().read(true).write(true).open(path)
}

/// Makes a file that is not there yet, and opens it for writing.
///
/// # Errors
/// As of open(2): there is something of that name ([`ErrorKind::AlreadyExists`]).
pub fn make(path: &Path) -> io::Result<File> {
    let mut options = OpenOptions::new();
    let options = options.write(true).create_new(true).mode(PRIVATE);
    options.open(path)
}

/// The content of a regular file of at most `limit` bytes.
///
/// # Errors
/// As [`open_regular`]; it is longer ([`ErrorKind::FileTooLarge`]).
pub fn read(path: &Path, limit: u64) -> io::Result<Vec<u8>> {
    read_bounded(open_regular(path)?, limit)
}

/// As [`read`], but links are followed: for files that an operator names.
///
/// # Errors
/// As [`read`].
pub fn read_linked(path: &Path, limit: u64) -> io::Result<Vec<u8>> {
    let mut options = OpenOptions::new();
    let file = options
        .read(true)
        .custom_flags(libc::O_NONBLOCK)
        .open(path)?;
    read_bounded(regular(file)?, limit)
}

/// All that `from` has, at most `limit` bytes.
///
/// # Errors
/// It has more ([`ErrorKind::FileTooLarge`]), or cannot be read.
pub fn read_bounded(from: impl Read, limit: u64) -> io::Result<Vec<u8>> {
    let mut content = Vec::new();
    from.take(limit.saturating_add(1))
        .read_to_end(&mut content)?;
    if content.len() as u64 > limit {
        let why = format!("more than {limit} bytes");
        return Err(io::Error::new(ErrorKind::FileTooLarge, why));
    }
    Ok(content)
}

/// Gives a file this content in one step: whoever opens it has all of the old content or all of the
/// new, also where the writer dies half-way. It is not synced: after a crash of the machine it may be
/// empty.
///
/// The new content is written beside it first, under a name that begins with a dot, and nothing is
/// left of that on an error. A writer that is killed in this moment leaves it.
///
/// # Errors
/// As of open(2), write(2) and rename(2); the file is as it was.
pub fn replace(path: &Path, content: &[u8]) -> io::Result<()> {
    exchange(path, |aside| make(aside)?.write_all(content))
}

/// Makes `path` a link to `target` in one step, as [`replace`] does.
///
/// # Errors
/// As of symlink(2) and rename(2); what was there is there still.
pub fn replace_link(path: &Path, target: &Path) -> io::Result<()> {
    exchange(path, |aside| symlink(target, aside))
}

fn exchange(path: &Path, make: impl FnOnce(&Path) -> io::Result<()>) -> io::Result<()> {
    let aside = beside(path)?;
    let done = make(&aside).and_then(|()| fs::rename(&aside, path));
    if done
        .as_ref()
        .is_err_and(|e| e.kind() != ErrorKind::AlreadyExists)
    {
        let _ = fs::remove_file(&aside);
    }
    done
}

/// A name in the same directory that nothing else has.
fn beside(path: &Path) -> io::Result<PathBuf> {
    let name = path.file_name().ok_or(ErrorKind::InvalidInput)?;
    let mut aside = OsString::from(".");
    aside.push(name);
    aside.push(format!(".{}", hex(&random::bytes::<8>()?)));
    Ok(path.with_file_name(aside))
}

fn held_up_by_nothing() -> OpenOptions {
    let mut options = OpenOptions::new();
    // Without O_NONBLOCK a fifo in a file's place would block the open.
    options
        .mode(PRIVATE)
        .custom_flags(libc::O_NOFOLLOW | libc::O_NONBLOCK);
    options
}

fn regular(file: File) -> io::Result<File> {
    if file.metadata()?.is_file() {
        Ok(file)
    } else {
        let why = "it is not a regular file";
        Err(io::Error::new(ErrorKind::InvalidInput, why))
    }
}

#[cfg(test)]
mod tests;

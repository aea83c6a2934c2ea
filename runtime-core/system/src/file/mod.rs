//! Files of this process, and files that another process may have replaced by something else.
//!
//! Opening refuses symbolic links, and does not block on a fifo or a device. New files have mode
//! 0600. Reads are bounded.

use std::{
    ffi::OsString,
    fs::{self, File, OpenOptions},
    io::{self, ErrorKind, Read, Write},
    os::unix::fs::{MetadataExt, OpenOptionsExt, symlink},
    path::{Path, PathBuf},
};

use crate::{encoding::hex, random};

const PRIVATE: u32 = 0o600;

/// Opens a file of any type for reading, a directory too.
///
/// # Errors
/// As of open(2); a link is `ELOOP` ([`ErrorKind::FilesystemLoop`]).
pub fn open(path: &Path) -> io::Result<File> {
    non_blocking_options().read(true).open(path)
}

/// Opens a regular file for reading.
///
/// # Errors
/// As [`open`]; it is something else ([`ErrorKind::InvalidInput`]).
pub fn open_regular(path: &Path) -> io::Result<File> {
    regular(open(path)?)
}

/// Opens a file for reading and writing, and makes an empty one if there is none. For locks, and
/// for files that are changed in place.
///
/// # Errors
/// As of open(2).
pub fn open_or_make(path: &Path) -> io::Result<File> {
    non_blocking_options()
        .read(true)
        .write(true)
        .create(true)
        .truncate(false)
        .open(path)
}

/// Opens a file for appending, and makes an empty one if there is none.
///
/// # Errors
/// As of open(2).
pub fn open_to_append(path: &Path) -> io::Result<File> {
    non_blocking_options().append(true).create(true).open(path)
}

/// Opens a file that is there for reading and writing.
///
/// # Errors
/// As of open(2).
pub fn open_to_change(path: &Path) -> io::Result<File> {
    non_blocking_options().read(true).write(true).open(path)
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

/// Reads `from` to its end, at most `limit` bytes.
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

/// Whether `path` still names this open file, and not another one or none.
///
/// # Errors
/// The attributes of either cannot be read.
pub fn is_at(file: &File, path: &Path) -> io::Result<bool> {
    let open = file.metadata()?;
    match fs::symlink_metadata(path) {
        Ok(named) => Ok((named.dev(), named.ino()) == (open.dev(), open.ino())),
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(false),
        Err(error) => Err(error),
    }
}

/// Gives a file this content in one step: a reader sees all of the old content or all of the new,
/// even if the writer dies half-way. It is not synced: after a crash of the machine it may be
/// empty.
///
/// The new content is written to a file beside it first, with a name like `.<name>.5a0e3c21`. Of
/// two writers at once the last one wins, and neither waits for the other. A process that is killed
/// in between leaves that file.
///
/// # Errors
/// As of open(2), write(2) and rename(2); the file is as it was.
pub fn replace(path: &Path, content: &[u8]) -> io::Result<()> {
    let aside = aside(path)?;
    let written = make(&aside)?.write_all(content);
    written
        .and_then(|()| fs::rename(&aside, path))
        .inspect_err(|_| drop(fs::remove_file(&aside)))
}

/// Makes `path` a link to `target` in one step, as [`replace`] does.
///
/// # Errors
/// As of symlink(2) and rename(2); the old link or file is unchanged.
pub fn replace_link(path: &Path, target: &Path) -> io::Result<()> {
    let aside = aside(path)?;
    symlink(target, &aside)?;
    fs::rename(&aside, path).inspect_err(|_| drop(fs::remove_file(&aside)))
}

/// A hidden name in the same directory that no other file has.
fn aside(path: &Path) -> io::Result<PathBuf> {
    let mut name = OsString::from(".");
    name.push(path.file_name().ok_or(ErrorKind::InvalidInput)?);
    name.push(format!(".{}", hex(&random::bytes::<4>()?)));
    Ok(path.with_file_name(name))
}

fn non_blocking_options() -> OpenOptions {
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

//! The one file that a pod keeps in a container's bundle: where its sandbox's directory is, so that
//! `delete`, which knows nothing but the bundle, finds it whatever the configuration says by then.

use std::{
    fs, io,
    os::unix::ffi::{OsStrExt, OsStringExt},
    path::{Path, PathBuf},
};

use pod::state::StateError;
use system::file;

/// Name of the file; its content is the directory's path.
const FILE: &str = "imprint-sandbox";

/// Longest path that is read.
const MAX_PATH: u64 = 4096;

/// Notes a sandbox's directory. Done before the directory is made; whoever follows the note checks
/// whose directory it is.
///
/// # Errors
/// The file could not be written.
pub(crate) fn note_sandbox(bundle: &Path, directory: &Path) -> Result<(), StateError> {
    let path = bundle.join(FILE);
    fs::write(&path, directory.as_os_str().as_bytes()).map_err(|source| StateError::Io {
        action: "Writing",
        path,
        source,
    })
}

/// The directory noted; `None` when none was.
///
/// # Errors
/// The file is there and cannot be read.
pub fn noted_sandbox(bundle: &Path) -> io::Result<Option<PathBuf>> {
    let content = match file::read(&bundle.join(FILE), MAX_PATH) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        read => read?,
    };
    let path = PathBuf::from(std::ffi::OsString::from_vec(content));
    Ok(path.is_absolute().then_some(path))
}

//! Loads the kernel modules that the image carries.

use std::{
    ffi::CString,
    fs::{self, File},
    path::Path,
};

use nix::{errno::Errno, kmod};

use crate::error::{Doing, Result};

/// Loads the modules that the file `load.order` in `directory` lists: one file name for each line,
/// each module after those that it depends on. Returns a message for each one that failed.
///
/// # Errors
///
/// When the list cannot be read.
pub fn load_all(directory: &Path) -> Result<Vec<String>> {
    let list = directory.join("load.order");
    let mut failed = Vec::new();
    for name in fs::read_to_string(&list).on("read", &list)?.lines() {
        let path = directory.join(name);
        let loaded = File::open(&path)
            .map_err(|error| error.to_string())
            .and_then(|file| {
                match kmod::finit_module(&file, &CString::default(), kmod::ModuleInitFlags::empty())
                {
                    Ok(()) | Err(Errno::EEXIST) => Ok(()),
                    Err(errno) => Err(errno.to_string()),
                }
            });
        if let Err(reason) = loaded {
            failed.push(format!("Could not load the kernel module {name}: {reason}"));
        }
    }
    Ok(failed)
}

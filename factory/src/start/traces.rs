//! Files that a failed way may have left in the VM's run directory.

use std::{
    collections::BTreeSet,
    ffi::OsString,
    path::{Path, PathBuf},
};

use slog::{Logger, warn};

/// What was in a run directory before a way to start was tried.
pub(super) struct Traces {
    dir: PathBuf,
    before: BTreeSet<OsString>,
}

impl Traces {
    /// Remembers what is in the run directory now.
    pub(super) fn since_now(dir: &Path) -> Self {
        Self {
            dir: dir.to_owned(),
            before: entries(dir),
        }
    }

    /// Removes the sockets and files that were made since then.
    pub(super) fn remove(&self, log: &Logger) {
        for name in entries(&self.dir).difference(&self.before) {
            let path = self.dir.join(name);
            let removed = match path.symlink_metadata() {
                Ok(meta) if meta.is_dir() => std::fs::remove_dir_all(&path),
                Ok(_) => std::fs::remove_file(&path),
                Err(e) => Err(e),
            };
            if let Err(e) = removed {
                warn!(log, "file of a failed start not removed";
                    "path" => %path.display(), "error" => %e);
            }
        }
    }
}

fn entries(dir: &Path) -> BTreeSet<OsString> {
    std::fs::read_dir(dir)
        .into_iter()
        .flatten()
        .flatten()
        .map(|entry| entry.file_name())
        .collect()
}

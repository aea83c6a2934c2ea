//! The directory in which templates lie: lists them, and destroys them all.

use std::{
    fs::{File, TryLockError},
    io,
    path::{Path, PathBuf},
    time::Duration,
};

use crate::{
    layout::{MANIFEST, MEMORY},
    mount::{self, Mounted},
    orphan::kill_mappers_of,
    private_files,
    template::Template,
    unusable::Unusable,
};

/// Further templates in one directory are ignored.
const MAX_TEMPLATES: usize = 64;

/// How long a template may still be in use by starts that have begun, before it is removed anyway;
/// such a start then boots.
const LAST_STARTS: Duration = Duration::from_secs(30);

/// The directory that `template_path` of the configuration names, with all templates in it.
#[derive(Debug, Clone)]
pub struct TemplateStore {
    path: PathBuf,
}

/// Templates that could not be removed, or a path that cannot hold any.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum StoreError {
    /// Another command works on the same templates.
    #[error("Another factory command is at work on {path}; nothing was changed")]
    Busy {
        /// The template path that both want to change.
        path: PathBuf,
    },
    /// The path has another use.
    #[error("Template path {path} cannot be used: {why}; nothing was changed")]
    Unusable {
        /// The template path, as it is configured.
        path: PathBuf,
        /// What is wrong with it, as in "the directory is not empty".
        why: &'static str,
    },
    /// A step failed; what the earlier steps removed stays removed.
    #[error("{action} {path} failed")]
    Io {
        /// The step, as in "Unmounting".
        action: &'static str,
        /// What the step was done to.
        path: PathBuf,
        /// The error of the operating system.
        #[source]
        source: io::Error,
    },
}

impl StoreError {
    pub(crate) fn io(action: &'static str, path: &Path) -> impl FnOnce(io::Error) -> Self {
        move |source| Self::Io {
            action,
            path: path.to_owned(),
            source,
        }
    }
}

impl TemplateStore {
    /// The templates at `path`. Nothing is read or made yet.
    pub fn at(path: impl Into<PathBuf>) -> Self {
        Self { path: path.into() }
    }

    /// The template path, as it is configured.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// All templates here, each with a lease, and for those that cannot be used the reason.
    ///
    /// # Errors
    /// The directory is missing, not private, or cannot be read.
    pub fn list(&self) -> Result<Vec<Result<Template, Unusable>>, Unusable> {
        let found = self.template_dirs()?;
        Ok(found
            .iter()
            .filter_map(|dir| Template::open(dir).transpose())
            .collect())
    }

    /// Directories in which there is or was a template, sorted.
    fn template_dirs(&self) -> Result<Vec<PathBuf>, Unusable> {
        match private_files::open_dir(&self.path) {
            Err(Unusable::Damaged { .. }) => return Err(self.absent()),
            other => other?,
        };
        let entries =
            std::fs::read_dir(&self.path).map_err(|e| Unusable::unreadable(&self.path, &e))?;
        let mut dirs: Vec<_> = entries
            .flatten()
            .filter(|entry| !entry.file_name().as_encoded_bytes().starts_with(b"."))
            .filter(|entry| entry.file_type().is_ok_and(|kind| kind.is_dir()))
            .map(|entry| entry.path())
            .take(MAX_TEMPLATES)
            .collect();
        dirs.sort();
        Ok(dirs)
    }

    fn absent(&self) -> Unusable {
        Unusable::Absent {
            path: self.path.clone(),
        }
    }

    /// Removes all templates, finished or not, and the directory. Running clones keep their memory.
    /// A start that has begun is waited for, up to 30 s.
    ///
    /// # Errors
    /// Another command is at work, the path has another use, or a step failed.
    pub async fn destroy(&self) -> Result<(), StoreError> {
        let _lock = self.lock().await?;
        match mount::mounted(&self.path).map_err(StoreError::io("Inspecting", &self.path))? {
            Mounted::Nothing => {}
            Mounted::Foreign => {
                return Err(self.unusable("another file system is mounted there"));
            }
            Mounted::Ours => {
                for dir in self.template_dirs().unwrap_or_default() {
                    self.retire(&dir).await?;
                }
                self.clear_unfinished().await?;
                mount::unmount(&self.path).map_err(StoreError::io("Unmounting", &self.path))?;
            }
        }
        match std::fs::remove_dir(&self.path) {
            Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(()),
            other => other.map_err(StoreError::io("Removing", &self.path)),
        }
    }

    /// Hides a template from new starts, lets those that have begun finish, and removes it.
    pub(crate) async fn retire(&self, dir: &Path) -> Result<(), StoreError> {
        let path = dir.join(MANIFEST);
        let manifest = File::open(&path);
        match std::fs::remove_file(&path) {
            Err(e) if e.kind() == io::ErrorKind::NotFound => {}
            other => other.map_err(StoreError::io("Removing", &path))?,
        }
        if let Ok(manifest) = manifest {
            // After the timeout, or if the lock fails, a start that still uses it will boot.
            let last_lease = blocking(move || manifest.lock());
            let _ = tokio::time::timeout(LAST_STARTS, last_lease).await;
        }
        std::fs::remove_dir_all(dir).map_err(StoreError::io("Removing", dir))
    }

    /// Removes what an interrupted command left. The caller holds the lock, so no command is at
    /// work.
    pub(crate) async fn clear_unfinished(&self) -> Result<(), StoreError> {
        let Ok(entries) = std::fs::read_dir(&self.path) else {
            return Ok(());
        };
        for entry in entries.flatten() {
            let path = entry.path();
            let hidden = entry.file_name().as_encoded_bytes().starts_with(b".");
            let is_dir = entry.file_type().is_ok_and(|kind| kind.is_dir());
            if hidden && is_dir {
                remove_unfinished(&path).await?;
            } else if hidden {
                std::fs::remove_file(&path).map_err(StoreError::io("Removing", &path))?;
            } else if is_dir && !path.join(MANIFEST).exists() {
                // It is half removed. Clones may use its memory, so no process is killed.
                std::fs::remove_dir_all(&path).map_err(StoreError::io("Removing", &path))?;
            }
        }
        Ok(())
    }

    /// Locks out other factory commands while the returned file lives; `None` if there is nothing
    /// to lock, because the parent directory is missing. Shims need no lock.
    pub(crate) async fn lock(&self) -> Result<Option<File>, StoreError> {
        // The parent is locked: the directory itself is hidden by the mount.
        let Some(parent) = self.path.parent() else {
            return Err(self.unusable("it has no parent directory"));
        };
        let parent = match File::open(parent) {
            Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(None),
            other => other.map_err(StoreError::io("Opening", parent))?,
        };
        match parent.try_lock() {
            Ok(()) => Ok(Some(parent)),
            Err(TryLockError::WouldBlock) => Err(StoreError::Busy {
                path: self.path.clone(),
            }),
            Err(TryLockError::Error(e)) => Err(StoreError::io("Locking", &self.path)(e)),
        }
    }

    pub(crate) fn unusable(&self, why: &'static str) -> StoreError {
        StoreError::Unusable {
            path: self.path.clone(),
            why,
        }
    }
}

/// Removes one unfinished template and the VMM that still maps its memory.
pub(crate) async fn remove_unfinished(dir: &Path) -> Result<(), StoreError> {
    let memory = dir.join(MEMORY);
    let orphans = blocking(move || kill_mappers_of(&memory)).await;
    orphans.map_err(StoreError::io("Ending the VMM of", dir))?;
    match std::fs::remove_dir_all(dir) {
        Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(()),
        other => other.map_err(StoreError::io("Removing", dir)),
    }
}

/// Runs work on files on a thread where it may block.
pub(crate) async fn blocking<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> T {
    match tokio::task::spawn_blocking(work).await {
        Ok(done) => done,
        // Only a panic in `work` or the end of the runtime gets here; both end the caller too.
        Err(e) => std::panic::resume_unwind(e.into_panic()),
    }
}

//! A sandbox's directory: its path, its creation, and the record in it.

use std::{
    fs, io,
    os::unix::fs::symlink,
    path::{Path, PathBuf},
};

use config::RUN_ROOT_MAX;
use hypervisors::{SOCKET_NAME_LIMIT, SOCKET_PATH_LIMIT};
use oci::validate_id;
use system::directory;

use super::{SandboxState, StateError, record};

/// Directory of all sandboxes, below the run root.
const SANDBOXES: &str = "s";
/// Directory of the VMM's sockets, below a sandbox's.
const VMM: &str = "vm";
/// Directory of the links to the VMs of restored sandboxes, below the run root.
const LINKS: &str = "vm";
const RECORD: &str = "state.json";
/// Length of a sandbox's id on a Kubernetes node, in bytes.
const CRI_ID: usize = 64;
/// Name of the shim's own socket in a sandbox's directory. It is Kata's name, by which collectors
/// of metrics find shims.
pub const MANAGEMENT_SOCKET: &str = "shim-monitor.sock";
/// With the longest run root of a configuration, the paths of all sockets of a Kubernetes node's
/// sandboxes are short enough.
const _: () = assert!(
    RUN_ROOT_MAX
        == SOCKET_PATH_LIMIT
            - (1 + SANDBOXES.len() + 1 + CRI_ID + 1)
            - longest(MANAGEMENT_SOCKET.len(), VMM.len() + 1 + SOCKET_NAME_LIMIT,)
);
/// Mode of all directories here.
const PRIVATE: u32 = 0o700;

const fn longest(one: usize, other: usize) -> usize {
    if one > other { one } else { other }
}

/// The directory of a sandbox, with its record.
#[derive(Debug)]
pub struct SandboxDir {
    path: PathBuf,
    state: SandboxState,
}

impl SandboxDir {
    /// Path of the directory of sandbox `id`.
    ///
    /// # Errors
    /// The id is not valid, or paths of sockets in the directory would be too long.
    pub fn path_for(run_root: &Path, id: &str) -> Result<PathBuf, StateError> {
        validate_id(id)?;
        let dir = run_root.join(SANDBOXES).join(id);
        let length = dir.as_os_str().len() + 1 + VMM.len() + 1 + SOCKET_NAME_LIMIT;
        if length > SOCKET_PATH_LIMIT {
            return Err(StateError::PathTooLong {
                dir,
                length,
                limit: SOCKET_PATH_LIMIT,
            });
        }
        Ok(dir)
    }

    /// Makes the directory of sandbox `id`, and its first record.
    ///
    /// # Errors
    /// It exists, or cannot be made. Nothing is left.
    pub fn create(run_root: &Path, id: &str, bundle: &Path) -> Result<Self, StateError> {
        let path = Self::path_for(run_root, id)?;
        directory::make(&path, PRIVATE).map_err(|source| match source.kind() {
            io::ErrorKind::AlreadyExists => StateError::Exists { dir: path.clone() },
            _ => StateError::io("Making", &path)(source),
        })?;
        let dir = Self {
            state: SandboxState::new(id, bundle),
            path,
        };
        let vmm = dir.vmm_dir();
        let filled = record::store(&dir.record_path(), &dir.state)
            .and_then(|()| directory::make(&vmm, PRIVATE).map_err(StateError::io("Making", &vmm)));
        match filled {
            Ok(()) => Ok(dir),
            Err(error) => {
                let _ = remove(&dir.path);
                Err(error)
            }
        }
    }

    /// Path of the directory.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The VMM's run directory (`VmSpec::run_dir`), which is made with the sandbox's.
    pub fn vmm_dir(&self) -> PathBuf {
        self.path.join(VMM)
    }

    /// Makes `<run root>/vm/<id>`, a link to the VMM's directory, which means that the VM was
    /// restored from a template. Scripts for other runtimes check for it. It is removed with the
    /// directory.
    pub fn link_vm(&self) -> Result<(), StateError> {
        let Some((link, target)) = link_of(&self.path) else {
            return Ok(());
        };
        let parent = link.parent().unwrap_or(&link);
        directory::make_in(parent, PRIVATE, || symlink(&target, &link))
            .map_err(StateError::io("Making", &link))
    }

    /// The record as it was last written.
    pub fn state(&self) -> &SandboxState {
        &self.state
    }

    /// Changes the record, on disk and here. Call it *before* something that the change adds is
    /// made, and after something that it removes is gone.
    ///
    /// # Errors
    /// It cannot be written; the old record is unchanged.
    pub fn record(&mut self, change: impl FnOnce(&mut SandboxState)) -> Result<(), StateError> {
        let mut next = self.state.clone();
        change(&mut next);
        if next != self.state {
            record::store(&self.record_path(), &next)?;
            self.state = next;
        }
        Ok(())
    }

    /// Removes the directory with its content. All that the record names must be gone.
    pub fn remove(self) -> Result<(), StateError> {
        remove(&self.path)
    }

    fn record_path(&self) -> PathBuf {
        self.path.join(RECORD)
    }
}

/// The record of the sandbox whose directory is `dir`; `None` if there is none.
pub(super) fn load(dir: &Path) -> Result<Option<SandboxState>, StateError> {
    record::load(&dir.join(RECORD))
}

/// Removes a sandbox's directory, and that of all sandboxes if it was the last one. Symbolic links
/// are removed, not followed. It is no error if the directory is gone.
pub(super) fn remove(dir: &Path) -> Result<(), StateError> {
    unlink_vm(dir)?;
    match fs::remove_dir_all(dir) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => {
            return Err(StateError::io("Removing", dir)(error));
        }
        _ => {}
    }
    if let Some(parent) = dir.parent() {
        // Fails, as it should, if there is another sandbox.
        let _ = fs::remove_dir(parent);
    }
    Ok(())
}

/// Removes the link to the VM of the sandbox whose directory is `dir`, if it has one.
pub(super) fn unlink_vm(dir: &Path) -> Result<(), StateError> {
    match link_of(dir) {
        Some((link, target)) if fs::read_link(&link).is_ok_and(|found| found == target) => {
            match fs::remove_file(&link) {
                // Another `delete` of the same sandbox was faster.
                Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
                removed => removed.map_err(StateError::io("Removing", &link)),
            }
        }
        _ => Ok(()),
    }
}

/// The link to the VM of the sandbox whose directory is `dir`, and its target.
fn link_of(dir: &Path) -> Option<(PathBuf, PathBuf)> {
    let id = dir.file_name()?;
    let run_root = dir.parent()?.parent()?;
    let target = Path::new("..").join(SANDBOXES).join(id).join(VMM);
    Some((run_root.join(LINKS).join(id), target))
}

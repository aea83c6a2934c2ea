//! The directory that everything of one playground lives in.

use std::{
    fs,
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
};

use nix::mount::{MsFlags, mount};

use crate::{Error, Result, proc::mounts};

/// A directory with a mount of its own, through which mounts propagate to the shims' namespaces,
/// as they do on a node whose `/` is shared.
#[derive(Debug, Clone)]
pub struct Playground {
    directory: PathBuf,
}

impl Playground {
    /// Makes a directory with a name that no other directory has.
    pub fn temporary(purpose: &str) -> Result<Self> {
        // Short: sockets live below it, and a socket's path holds 107 bytes at most.
        let prefix = format!("imp-{purpose}.");
        let directory = tempfile::Builder::new()
            .prefix(&prefix)
            .permissions(fs::Permissions::from_mode(0o700))
            .tempdir_in("/tmp")
            .map_err(Error::io("Making a directory in", "/tmp"))?
            .keep();
        let made = Self { directory };
        made.mount()
            .inspect_err(|_| drop(fs::remove_dir(&made.directory)))?;
        Ok(made)
    }

    /// Makes a directory with this name; refuses one that exists.
    pub fn named(directory: &Path) -> Result<Self> {
        system::directory::make_single(directory, 0o700).map_err(Error::io("Making", directory))?;
        let made = Self {
            directory: directory.to_owned(),
        };
        made.mount()
            .inspect_err(|_| drop(fs::remove_dir(directory)))?;
        Ok(made)
    }

    /// The playground that another process made here.
    #[must_use]
    pub fn existing(directory: &Path) -> Option<Self> {
        directory.is_dir().then(|| Self {
            directory: directory.to_owned(),
        })
    }

    /// The path of its directory.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.directory
    }

    fn mount(&self) -> Result<()> {
        let directory = self.directory.as_path();
        let mounting = |errno: nix::errno::Errno| Error::Io {
            action: "Mounting",
            path: directory.to_owned(),
            source: errno.into(),
        };
        let none = None::<&str>;
        mount(Some(directory), directory, none, MsFlags::MS_BIND, none).map_err(mounting)?;
        mount(none, directory, none, MsFlags::MS_SHARED, none)
            .map_err(mounting)
            .inspect_err(|_| nix::mount::umount(directory).unwrap_or_default())
    }

    /// Takes away every mount at and below the directory, the latest first.
    pub fn unmount_all(&self) -> Result<()> {
        loop {
            let mut ours = mounts()?
                .into_iter()
                .filter(|m| m.point.starts_with(&self.directory));
            let Some(last) = ours.next_back() else {
                return Ok(());
            };
            let detached = nix::mount::umount2(&last.point, nix::mount::MntFlags::MNT_DETACH);
            detached.map_err(|errno| Error::Io {
                action: "Unmounting",
                path: last.point,
                source: errno.into(),
            })?;
        }
    }

    /// Removes the directory and all that is in it. Nothing may be mounted there any more.
    pub fn remove(&self) -> Result<()> {
        if mounts()?
            .iter()
            .any(|mount| mount.point.starts_with(&self.directory))
        {
            let busy = std::io::Error::other("something is still mounted there");
            return Err(Error::io("Removing", &self.directory)(busy));
        }
        fs::remove_dir_all(&self.directory).map_err(Error::io("Removing", &self.directory))
    }
}

//! A private read-only mount of a tree, which a crash cannot leave behind.
//!
//! The mount is made in a mount namespace of one thread. It ends with that thread and the processes
//! that it started.

use std::{
    env,
    ffi::OsStr,
    io,
    os::fd::AsRawFd,
    path::{Path, PathBuf},
};

use nix::{
    mount::{MsFlags, mount},
    sched::{CloneFlags, unshare},
};
use system::directory;

use super::{
    RootfsError,
    tree::{Overlay, Tree},
};

/// Flags of the mount: nothing in it can be written, executed or opened as a device.
fn inert() -> MsFlags {
    MsFlags::MS_RDONLY | MsFlags::MS_NODEV | MsFlags::MS_NOSUID | MsFlags::MS_NOEXEC
}

/// Runs `work` on a new thread while `tree` is mounted at `point`, which only that thread and the
/// processes that it starts can see.
pub(super) fn with_view<T: Send>(
    tree: &Tree,
    point: &Path,
    work: impl FnOnce() -> Result<T, RootfsError> + Send,
) -> Result<T, RootfsError> {
    std::thread::scope(|scope| {
        std::thread::Builder::new()
            .name("rootfs-view".to_owned())
            .spawn_scoped(scope, || {
                enter_namespace()?;
                match tree {
                    Tree::Directory(dir) => bind(dir, point)?,
                    Tree::Overlay(overlay) => stack(overlay, point)?,
                }
                work()
            })
            .map_err(RootfsError::io("Starting a thread for", point))?
            .join()
            .unwrap_or(Err(RootfsError::Ended))
    })
}

/// Moves the thread into a new mount namespace. Unmounts on the host take effect here too, so
/// nothing is kept busy; mounts here have no effect on the host.
fn enter_namespace() -> Result<(), RootfsError> {
    let root = Path::new("/");
    unshare(CloneFlags::CLONE_NEWNS)
        .map_err(RootfsError::io("Making a mount namespace for", root))?;
    let flags = MsFlags::MS_REC | MsFlags::MS_SLAVE;
    mount(None::<&str>, root, None::<&str>, flags, None::<&str>).map_err(RootfsError::io(
        "Detaching from the host the mounts below",
        root,
    ))
}

/// Mounts the directory without the mounts below it.
fn bind(dir: &Path, point: &Path) -> Result<(), RootfsError> {
    let opened = directory::open(dir).map_err(RootfsError::io("Opening", dir))?;
    let source = PathBuf::from(format!("/proc/self/fd/{}", opened.as_raw_fd()));
    let attach = |source, flags| mount(source, point, None::<&str>, flags, None::<&str>);
    attach(Some(source.as_path()), MsFlags::MS_BIND)
        .and_then(|()| attach(None, MsFlags::MS_REMOUNT | MsFlags::MS_BIND | inert()))
        .map_err(RootfsError::io("Mounting", dir))
}

/// Mounts all layers as lower layers, so none is written, and the upper one may be mounted
/// elsewhere. Paths are relative to the directory that the layers share, since options are limited
/// to one page.
fn stack(overlay: &Overlay, point: &Path) -> Result<(), RootfsError> {
    let base = common_parent(overlay.layers());
    // The namespace gave the thread a working directory of its own (unshare(2), CLONE_NEWNS).
    env::set_current_dir(&base).map_err(RootfsError::io("Entering", &base))?;
    let mut data = String::from("lowerdir=");
    for (index, layer) in overlay.layers().enumerate() {
        if index > 0 {
            data.push(':');
        }
        let relative = layer.strip_prefix(&base).unwrap_or(layer);
        data.push_str(&relative.to_string_lossy());
    }
    for option in &overlay.options {
        data.push(',');
        data.push_str(option);
    }
    mount(
        Some("overlay"),
        point,
        Some("overlay"),
        inert(),
        Some(OsStr::new(&data)),
    )
    .map_err(|errno| match errno {
        nix::errno::Errno::EINVAL => io::Error::new(
            io::ErrorKind::InvalidInput,
            "the kernel refused the layers (see its log)",
        ),
        other => other.into(),
    })
    .map_err(RootfsError::io("Mounting the layers below", &base))
}

/// The deepest directory that contains all `layers`.
fn common_parent<'a>(layers: impl Iterator<Item = &'a PathBuf>) -> PathBuf {
    layers
        .map(|layer| layer.parent().unwrap_or(layer).to_owned())
        .reduce(|a, b| {
            let shared = a
                .components()
                .zip(b.components())
                .take_while(|(a, b)| a == b);
            shared.map(|(part, _)| part).collect()
        })
        .unwrap_or_else(|| PathBuf::from("/"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn finds_the_shared_directory() {
        let parent = |paths: &[&str]| {
            let paths: Vec<PathBuf> = paths.iter().map(PathBuf::from).collect();
            common_parent(paths.iter())
        };
        assert_eq!(parent(&["/s/1/fs", "/s/2/fs"]), Path::new("/s"));
        assert_eq!(parent(&["/s/1/fs", "/s/1/fs2"]), Path::new("/s/1"));
        assert_eq!(parent(&["/a", "/s/2/fs"]), Path::new("/"));
    }
}

//! Snapshots that are trees of files.

use std::path::PathBuf;

use super::{Mount, RootfsError, unsupported};

/// A tree of files, as a mount describes it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Tree {
    /// A bind mount of a single directory.
    Directory(PathBuf),
    /// An overlay of several directories.
    Overlay(Overlay),
}

/// The parts of an overlay mount that decide its content.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Overlay {
    /// The container's own layer, on top. It is only read here, so it may be in use.
    pub(super) upper: Option<PathBuf>,
    /// The image's layers, topmost first.
    pub(super) lowers: Vec<PathBuf>,
    /// Further options that change the content, such as `userxattr`.
    pub(super) options: Vec<String>,
}

impl Overlay {
    /// All layers, topmost first.
    pub(super) fn layers(&self) -> impl Iterator<Item = &PathBuf> {
        self.upper.iter().chain(&self.lowers)
    }
}

impl Tree {
    /// The tree that `mount` describes.
    ///
    /// # Errors
    /// Its type or an option is not known, or a path cannot be used.
    pub(super) fn from_mount(mount: &Mount) -> Result<Self, RootfsError> {
        match mount.fs_type.as_str() {
            "overlay" => overlay(mount),
            "bind" | "rbind" => directory(mount),
            _ if mount.options.iter().any(|o| o == "bind" || o == "rbind") => directory(mount),
            _ => Err(unsupported(mount, "its type is not known")),
        }
    }
}

fn directory(mount: &Mount) -> Result<Tree, RootfsError> {
    if !mount.source.starts_with('/') {
        return Err(unsupported(mount, "its source is not an absolute path"));
    }
    Ok(Tree::Directory(PathBuf::from(&mount.source)))
}

fn overlay(mount: &Mount) -> Result<Tree, RootfsError> {
    let mut overlay = Overlay {
        upper: None,
        lowers: Vec::new(),
        options: Vec::new(),
    };
    for option in &mount.options {
        let (name, value) = option.split_once('=').unwrap_or((option, ""));
        match name {
            "lowerdir" => {
                let layers = value.split(':').map(|path| layer(mount, path));
                overlay.lowers = layers.collect::<Result<_, _>>()?;
            }
            "upperdir" => overlay.upper = Some(layer(mount, value)?),
            "userxattr" => overlay.options.push(option.clone()),
            // Only following matters, since nothing is written.
            "redirect_dir" if value == "on" || value == "follow" => {
                overlay.options.push("redirect_dir=follow".to_owned());
            }
            "metacopy" if value == "on" => overlay.options.push(option.clone()),
            // These are about writing, inode numbers, or security labels of the host.
            "workdir" | "index" | "xino" | "nfs_export" | "uuid" | "volatile" | "metacopy"
            | "redirect_dir" | "ro" | "rw" | "noatime" | "relatime" | "context" => {}
            _ => return Err(unsupported(mount, &format!("option {name:?} is not known"))),
        }
    }
    // An overlay of one layer needs no overlay; older kernels refuse it.
    match (&overlay.upper, overlay.lowers.as_slice()) {
        (_, []) => Err(unsupported(mount, "it has no lower layer")),
        (None, [only]) => Ok(Tree::Directory(only.clone())),
        _ => Ok(Tree::Overlay(overlay)),
    }
}

/// Path of a layer. The characters `:`, `,` and `\` have a meaning in overlay's options, so a path
/// with one of them could name another directory than the one that was inspected.
fn layer(mount: &Mount, path: &str) -> Result<PathBuf, RootfsError> {
    if path.starts_with('/') && !path.contains([':', ',', '\\']) {
        Ok(PathBuf::from(path))
    } else {
        Err(unsupported(
            mount,
            &format!("path {path:?} of a layer cannot be used"),
        ))
    }
}

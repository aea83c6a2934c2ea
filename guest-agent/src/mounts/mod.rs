//! A container's mounts, made ready for the runtime: every source pinned, every destination resolved.
//!
//! libcontainer opens a source by its path and makes no part of a destination behind a link that leads
//! nowhere. So each source below the agent's directory is opened here without following a link, and
//! bound to a path that no container has a way to; that path is what the runtime gets. The runtime
//! clones the mount with its propagation, which libcontainer itself does not set.

mod options;
mod stage;
mod walk;

use std::path::{Path, PathBuf};

use agent_client::oci::{Mount, Spec};
use nix::{errno::Errno, sys::stat::SFlag};

use self::{
    options::{is_propagation, root_propagation},
    stage::{Source, Staging},
    walk::{Walk, Wanted},
};
use crate::{
    error::{Doing, Error, Result},
    zygote,
};

/// What was mounted for the runtime to clone; unmounted when it is dropped.
#[derive(Debug)]
pub struct Staged {
    staging: Staging,
    /// What the runtime mounts by itself, without a word about what it does not like.
    left: Vec<Mount>,
}

impl Staged {
    /// The runtime's error; or the mount for which it has failed, if it is one of those that it makes by
    /// itself.
    pub fn explain(&mut self, error: Error) -> Error {
        match &error {
            Error::Runtime { reason, .. } if zygote::is_about_mounts(reason) => {
                self.failed_mount().unwrap_or(error)
            }
            _ => error,
        }
    }

    fn failed_mount(&mut self) -> Option<Error> {
        let left = std::mem::take(&mut self.left);
        left.iter().find_map(|mount| {
            let tried = self.staging.try_memory(mount);
            tried.doing(|| describe(mount)).err()
        })
    }
}

/// Makes the mounts of container `id` ready and puts them into `spec`. `root` is the agent's directory.
///
/// # Errors
///
/// The first mount that cannot be made, with its source, its destination and the reason.
pub fn stage(root: &Path, id: &str, spec: &mut Spec) -> Result<Staged> {
    if let Some(linux) = spec.Linux.as_mut() {
        linux.RootfsPropagation = root_propagation(&linux.RootfsPropagation)?.to_owned();
    }
    let rootfs = PathBuf::from(&spec.Root.get_or_default().Path);
    let mut walk = Walk::new(&rootfs)?;
    let mut staging = Staging::new(root, id)?;
    let mut left = Vec::new();
    for mount in &mut spec.Mounts {
        let source = Source::open(root, mount).map_err(|error| because(describe(mount), error))?;
        if matches!(source, Source::Memory) {
            left.push(mount.clone());
        }
        *mount = ready(mount, source, &mut walk, &mut staging)?;
    }
    Ok(Staged { staging, left })
}

fn ready(mount: &Mount, source: Source, walk: &mut Walk, staging: &mut Staging) -> Result<Mount> {
    let doing = || describe(mount);
    let destination = Path::new("/").join(&mount.destination);
    // The kernel's own views are never mounted where a link of the image leads.
    let resolved = if matches!(mount.type_.as_str(), "proc" | "sysfs") {
        walk::plain(&destination)
    } else {
        let wanted = match source.is_directory() {
            true => Wanted::Directory,
            false => Wanted::File,
        };
        let found = walk.resolve(&destination, wanted).doing(doing)?;
        fits(wanted, found.kind).doing(doing)?;
        found.path
    };
    if let Some(reason) = source.refusal_at(&resolved) {
        return Err(std::io::Error::other(reason)).doing(doing);
    }
    let staged = staging.place(mount, &source).doing(doing)?;
    let content = source.into_content(mount, staged.as_deref()).doing(doing)?;
    let ready = rewritten(mount, &resolved, staged)?;
    walk.mounted(resolved, content);
    Ok(ready)
}

/// What the runtime is told.
fn rewritten(mount: &Mount, destination: &Path, staged: Option<PathBuf>) -> Result<Mount> {
    let mut ready = mount.clone();
    ready.destination = text(destination)?;
    ready.options.retain(|option| !is_propagation(option));
    if let Some(staged) = staged {
        if !options::is_bind(mount) {
            // Its other options are in the mount that is cloned.
            ready.type_ = "bind".to_owned();
            ready
                .options
                .retain(|option| option == "ro" || option == "rro");
            ready.options.push("bind".to_owned());
        }
        ready.source = text(&staged)?;
    }
    Ok(ready)
}

/// A changed name would be that of another place.
fn text(path: &Path) -> Result<String> {
    let text = path.to_str().map(str::to_owned);
    text.ok_or_else(|| Error::Invalid(format!("{path:?}, where a mount leads, is no UTF-8")))
}

/// A directory lies over a directory, anything else over anything that is none.
fn fits(wanted: Wanted, found: Option<SFlag>) -> std::result::Result<(), Errno> {
    match (wanted, found) {
        (Wanted::Directory, Some(kind)) if kind != SFlag::S_IFDIR => Err(Errno::ENOTDIR),
        (Wanted::File, Some(SFlag::S_IFDIR)) => Err(Errno::EISDIR),
        _ => Ok(()),
    }
}

/// Completes the sentence "Could not …".
fn describe(mount: &Mount) -> String {
    let (source, destination) = (&mount.source, &mount.destination);
    if options::is_bind(mount) {
        format!("mount {source} at {destination}")
    } else {
        format!(
            "mount a {} at {destination} ({})",
            mount.type_,
            mount.options.join(",")
        )
    }
}

/// Says of an error of the source that it is one of the mount.
fn because(doing: String, error: Error) -> Error {
    match error {
        Error::System { source, .. } => Error::System { doing, source },
        other => other,
    }
}

#[cfg(test)]
mod tests;

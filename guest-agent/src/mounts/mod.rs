//! Prepares a container's mounts for libcontainer: sources are opened, destinations resolved.
//!
//! libcontainer opens a source by its path, fails on a destination behind a dangling link, and does
//! not set the propagation of a mount. So each source below the agent's directory is opened here
//! without following links, and bound to a path that containers cannot reach, with its propagation.
//! libcontainer gets that path and clones the mount.

mod options;
mod stage;
mod walk;

use std::path::{Path, PathBuf};

use agent_client::oci::{Mount, Spec};
use nix::{errno::Errno, sys::stat::SFlag};

use self::{
    options::{is_propagation, root_propagation},
    stage::{Source, StagingDirectory},
    walk::{Walk, Wanted},
};
use crate::{
    error::{Doing, Error, Result},
    zygote,
};

/// The mounts that libcontainer is to clone. They are unmounted when this is dropped.
#[derive(Debug)]
pub struct StagedMounts {
    directory: StagingDirectory,
    /// The tmpfs mounts that libcontainer makes by itself. When it fails at one, its error does not
    /// name the mount.
    unstaged: Vec<Mount>,
}

impl StagedMounts {
    /// Names the failed mount if `error` is libcontainer's about one of those that it makes by
    /// itself; else returns `error`.
    pub fn explain(&mut self, error: Error) -> Error {
        match &error {
            Error::Runtime { reason, .. } if zygote::is_about_mounts(reason) => {
                self.failed_mount().unwrap_or(error)
            }
            _ => error,
        }
    }

    fn failed_mount(&mut self) -> Option<Error> {
        let unstaged = std::mem::take(&mut self.unstaged);
        unstaged.iter().find_map(|mount| {
            let tried = self.directory.mount_tmpfs(mount);
            tried.doing(|| describe(mount)).err()
        })
    }
}

/// Prepares the mounts of the container `id`, and changes them in `spec` to what libcontainer is to
/// mount. `root` is the agent's directory.
///
/// # Errors
///
/// When a mount cannot be made. The error has its source, its destination and the cause.
pub fn stage(root: &Path, id: &str, spec: &mut Spec) -> Result<StagedMounts> {
    if let Some(linux) = spec.Linux.as_mut() {
        linux.RootfsPropagation = root_propagation(&linux.RootfsPropagation)?.to_owned();
    }
    let rootfs = PathBuf::from(&spec.Root.get_or_default().Path);
    let mut walk = Walk::new(&rootfs)?;
    let mut directory = StagingDirectory::new(root, id);
    let mut unstaged = Vec::new();
    for mount in &mut spec.Mounts {
        let source = Source::open(root, mount).map_err(|error| relabel(error, describe(mount)))?;
        if matches!(source, Source::PlainTmpfs) {
            unstaged.push(mount.clone());
        }
        *mount = prepare(mount, source, &mut walk, &mut directory)?;
    }
    Ok(StagedMounts {
        directory,
        unstaged,
    })
}

fn prepare(
    mount: &Mount,
    source: Source,
    walk: &mut Walk,
    directory: &mut StagingDirectory,
) -> Result<Mount> {
    let doing = || describe(mount);
    let destination = Path::new("/").join(&mount.destination);
    // A link in the image must not redirect the kernel's own file systems.
    let resolved = if matches!(mount.type_.as_str(), "proc" | "sysfs") {
        walk::without_links(&destination)
    } else {
        let wanted = match source.is_directory() {
            true => Wanted::Directory,
            false => Wanted::File,
        };
        let found = walk.resolve(&destination, wanted).doing(doing)?;
        check_kind(wanted, found.kind).doing(doing)?;
        found.path
    };
    if let Some(reason) = source.refusal_at(&resolved) {
        return Err(std::io::Error::other(reason)).doing(doing);
    }
    let staged_at = directory.stage(mount, &source).doing(doing)?;
    let content = source
        .into_content(mount, staged_at.as_deref())
        .doing(doing)?;
    let prepared = rewrite(mount, &resolved, staged_at)?;
    walk.add_mount(resolved, content);
    Ok(prepared)
}

/// The mount for libcontainer, of what is `staged_at` a path or else of the mount's own source.
fn rewrite(mount: &Mount, destination: &Path, staged_at: Option<PathBuf>) -> Result<Mount> {
    let mut rewritten = mount.clone();
    rewritten.destination = text(destination)?;
    rewritten.options.retain(|option| !is_propagation(option));
    if let Some(staged_at) = staged_at {
        if !options::is_bind(mount) {
            // The staged mount has the other options.
            rewritten.type_ = "bind".to_owned();
            rewritten
                .options
                .retain(|option| option == "ro" || option == "rro");
            rewritten.options.push("bind".to_owned());
        }
        rewritten.source = text(&staged_at)?;
    }
    Ok(rewritten)
}

/// Never converted with loss: that would be the path of something else.
fn text(path: &Path) -> Result<String> {
    let text = path.to_str().map(str::to_owned);
    text.ok_or_else(|| Error::Invalid(format!("the mount destination {path:?} is not UTF-8")))
}

/// A directory can only be mounted on a directory, anything else only on what is not a directory.
fn check_kind(wanted: Wanted, found: Option<SFlag>) -> std::result::Result<(), Errno> {
    match (wanted, found) {
        (Wanted::Directory, Some(kind)) if kind != SFlag::S_IFDIR => Err(Errno::ENOTDIR),
        (Wanted::File, Some(SFlag::S_IFDIR)) => Err(Errno::EISDIR),
        _ => Ok(()),
    }
}

/// What is done with a mount; completes the sentence "Could not …".
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

/// Makes an error about the source one about the mount.
fn relabel(error: Error, doing: String) -> Error {
    match error {
        Error::System { source, .. } => Error::System { doing, source },
        other => other,
    }
}

#[cfg(test)]
mod tests {
    use std::{fs, os::unix::fs::symlink};

    use super::*;

    fn mount(source: &Path, destination: &str, options: &[&str]) -> Mount {
        Mount {
            source: source.to_str().unwrap().to_owned(),
            destination: destination.to_owned(),
            type_: "bind".to_owned(),
            options: options.iter().map(|&option| option.to_owned()).collect(),
            ..Default::default()
        }
    }

    #[test]
    fn a_mount_that_fails_is_named_with_the_cause() {
        let root = tempfile::tempdir().unwrap();
        let agent = tempfile::tempdir().unwrap();
        fs::write(root.path().join("file"), "").unwrap();
        symlink("/proc/self/attr", root.path().join("sneaky")).unwrap();
        let volume = agent.path().join("volume");
        fs::create_dir(&volume).unwrap();
        fs::write(volume.join("file"), "").unwrap();
        symlink("/", volume.join("link")).unwrap();
        for (source, destination, reason) in [
            ("absent", "/data", "No such file or directory"),
            ("link", "/data", "Too many levels of symbolic links"),
            ("link/etc", "/data", "Too many levels of symbolic links"),
            (".", "/file", "Not a directory"),
            (".", "/file/below", "Not a directory"),
            ("file", "/", "Is a directory"),
            (".", "/proc", "only procfs can be mounted there"),
            (".", "/sneaky", "it is inside /proc"),
        ] {
            let source = volume.join(source);
            let mut spec = Spec::new();
            spec.Root.mut_or_insert_default().Path = root.path().to_str().unwrap().to_owned();
            spec.Mounts = vec![mount(&source, destination, &["rbind"])];
            let error = stage(agent.path(), "a", &mut spec).unwrap_err().chain();
            let named = format!("Could not mount {} at {destination}: ", source.display());
            assert!(
                error.starts_with(&named) && error.contains(reason),
                "{error}"
            );
        }
        assert!(!agent.path().with_extension("mounts").join("a").exists());
    }

    #[test]
    fn the_staged_mount_has_the_propagation() {
        let asked = mount(Path::new("/x"), "/y", &["rbind", "ro", "rslave", "private"]);
        let rewritten = rewrite(&asked, Path::new("/z"), Some("/staged".into())).unwrap();
        assert_eq!(rewritten.options, ["rbind", "ro"]);
        assert_eq!(
            (rewritten.source.as_str(), rewritten.destination.as_str()),
            ("/staged", "/z")
        );
    }

    #[test]
    fn only_an_error_about_mounts_is_explained() {
        let (root, agent) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let refused = |reason: &str| Error::Runtime {
            doing: "create container a".to_owned(),
            reason: reason.to_owned(),
        };
        let explained = |reason: &str| {
            let mut spec = Spec::new();
            spec.Root.mut_or_insert_default().Path = root.path().to_str().unwrap().to_owned();
            let mut tmpfs = mount(Path::new("tmpfs"), "/tmp", &["size=much"]);
            tmpfs.type_ = "tmpfs".to_owned();
            spec.Mounts = vec![tmpfs];
            let mut staged = stage(agent.path(), "a", &mut spec).unwrap();
            staged.explain(refused(reason)).chain()
        };
        let other = explained("exec: \"x\": executable file not found in $PATH");
        assert!(other.contains("executable file"), "{other}");
        let mount_error = explained("failed to prepare rootfs: invalid argument");
        assert!(
            mount_error.contains("mount a tmpfs at /tmp (size=much)"),
            "{mount_error}"
        );
    }

    #[test]
    fn a_destination_that_is_not_utf8_is_refused() {
        use std::{ffi::OsStr, os::unix::ffi::OsStrExt};

        let (root, agent) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        symlink(OsStr::from_bytes(b"/x\xff"), root.path().join("link")).unwrap();
        let mut spec = Spec::new();
        spec.Root.mut_or_insert_default().Path = root.path().to_str().unwrap().to_owned();
        spec.Mounts = vec![mount(agent.path(), "/link", &["rbind", "ro"])];
        let error = stage(&agent.path().join("run"), "a", &mut spec).unwrap_err();
        assert!(error.chain().contains("not UTF-8"), "{}", error.chain());
    }
}

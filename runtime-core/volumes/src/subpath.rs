//! Finds the volume that a part of a volume (`subPath`) belongs to.

use std::{
    fs, io,
    os::fd::AsRawFd,
    path::{Path, PathBuf},
};

use system::mounts::{self, Mount};

use super::{
    VolumeError,
    kubelet::{self, CSI, KubeletPath},
    owner::Owner,
    source::Source,
};

/// The volume of the pod that a mount shows a part of.
#[derive(Debug)]
pub(super) struct Parent {
    pub(super) plugin: String,
    pub(super) volume: Source,
    /// Path of the part within the volume.
    pub(super) part: PathBuf,
}

/// The volume `name` of the pod that contains what kubelet has bound at `subpath`. Several volumes
/// and a path of the host may have that name, since anyone can choose the name of a
/// PersistentVolume.
pub(super) fn parent_volume(
    kubelet_root: &Path,
    owner: &Owner,
    subpath: &Source,
    name: &str,
) -> Result<Option<Parent>, VolumeError> {
    let plugins = kubelet::pod_volumes(kubelet_root, &subpath.path).map(fs::read_dir);
    let Some(Ok(plugins)) = plugins else {
        return Ok(None);
    };
    let inner = within_file_system(subpath)?;
    for directory in plugins.flatten() {
        let Ok(plugin) = directory.file_name().into_string() else {
            continue;
        };
        let mut path = directory.path().join(name);
        if plugin == CSI {
            path.push("mount");
        }
        if !path.is_dir() {
            continue;
        }
        let volume = Source::open(&path)?;
        let is_own = matches!(
            owner.kubelet_path(kubelet_root, &path, &volume.real),
            Some(KubeletPath::Volume { .. })
        );
        if is_own && let Some(part) = part_within(&within_file_system(&volume)?, &inner) {
            return Ok(Some(Parent {
                plugin,
                volume,
                part,
            }));
        }
    }
    Ok(None)
}

/// The path of `inner` within `outer`, each given with the device of its file system.
fn part_within(outer: &(String, PathBuf), inner: &(String, PathBuf)) -> Option<PathBuf> {
    let part = inner.1.strip_prefix(&outer.1).ok()?;
    (outer.0 == inner.0).then(|| part.to_owned())
}

/// Device of the file system that a source is on, and its path within it. They are the same for all
/// bind mounts of one directory.
fn within_file_system(source: &Source) -> Result<(String, PathBuf), VolumeError> {
    located(source).map_err(VolumeError::io("Finding the mount of", &source.path))
}

fn located(source: &Source) -> io::Result<(String, PathBuf)> {
    let info = fs::read_to_string(format!("/proc/self/fdinfo/{}", source.handle.as_raw_fd()))?;
    let id = info.lines().find_map(|line| line.strip_prefix("mnt_id:"));
    let id = id.and_then(|id| id.trim().parse().ok());
    let id = id.ok_or_else(|| io::Error::other("its mount is not known"))?;
    let real = fs::read_link(source.pinned_path())?;
    locate(&mounts::all()?, id, &real)
        .ok_or_else(|| io::Error::other("its mount is not in the table"))
}

fn locate(mounts: &[Mount], id: u64, path: &Path) -> Option<(String, PathBuf)> {
    let mount = mounts.iter().find(|mount| mount.id == id)?;
    let below = path.strip_prefix(&mount.point).ok()?;
    Some((mount.device.clone(), mount.root.join(below)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn mounts_are_located_within_their_file_system() {
        let table = b"21 1 8:1 / / rw - ext4 /dev/sda1 rw\n\
                     40 21 8:1 /k/v/data\\040x/sub /k/subpaths/v/c/0 rw - ext4 /dev/sda1 rw\n";
        let table = mounts::parse(table);
        let volume = locate(&table, 21, Path::new("/k/v/data x")).unwrap();
        let part = locate(&table, 40, Path::new("/k/subpaths/v/c/0")).unwrap();
        assert_eq!(volume.0, part.0);
        assert_eq!(part_within(&volume, &part), Some("sub".into()));
        let of_other_disk = ("8:2".to_owned(), part.1.clone());
        assert_eq!(part_within(&volume, &of_other_disk), None);
        assert_eq!(part_within(&part, &volume), None);
        assert_eq!(locate(&table, 22, Path::new("/")), None);
    }
}

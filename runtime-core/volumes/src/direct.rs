//! Volumes that a storage driver leaves for the runtime to mount. The driver has attached the block
//! device to the node, and describes it in a file named by the path that the pod mounts. Format and
//! directory are those of Kata's direct-assigned volumes, which drivers support.

use std::{
    collections::HashMap,
    io,
    path::{Path, PathBuf},
};

use serde::Deserialize;
use system::{encoding::base64url, file};

use super::VolumeError;

/// The longest description that is read, in bytes.
const MAX_BYTES: u64 = 64 << 10;

/// A file system on a block device.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct DirectVolume {
    /// The block device's node on the host.
    pub(super) device: PathBuf,
    /// Type of the file system, as in `ext4`.
    pub(super) fs_type: String,
    /// Mount options for the guest.
    pub(super) options: Vec<String>,
    /// The group that gets its root directory (fsGroup).
    pub(super) group: Option<u32>,
}

/// The description as it is on disk.
#[derive(Deserialize)]
#[serde(rename_all = "kebab-case")]
struct MountInfo {
    volume_type: String,
    device: PathBuf,
    #[serde(rename = "fstype")]
    fs_type: String,
    #[serde(default)]
    metadata: HashMap<String, String>,
    #[serde(default)]
    options: Vec<String>,
}

/// The description of the volume at `path`, if a driver left one.
///
/// # Errors
/// It cannot be read, or its type is not known.
pub(super) fn read(root: &Path, path: &Path) -> Result<Option<DirectVolume>, VolumeError> {
    let file = root
        .join(base64url(path.to_string_lossy().as_bytes()))
        .join("mountInfo.json");
    let fail = |source| VolumeError::io("Reading", &file)(source);
    let content = match file::read(&file, MAX_BYTES) {
        Err(error) if absent(&error) => return Ok(None),
        read => read.map_err(fail)?,
    };
    let info: MountInfo = serde_json::from_slice(&content).map_err(|e| fail(e.into()))?;
    if !["block", "directvol"].contains(&info.volume_type.as_str()) {
        let reason = format!("volume-type {:?} is not known", info.volume_type);
        return Err(fail(io::Error::other(reason)));
    }
    Ok(Some(DirectVolume {
        device: info.device,
        fs_type: info.fs_type,
        options: info.options,
        group: info
            .metadata
            .get("fsGroup")
            .and_then(|group| group.parse().ok()),
    }))
}

/// Whether there is no description: the name of a long path may be too long for a directory.
fn absent(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::NotFound | io::ErrorKind::InvalidFilename
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_description_is_found_by_the_volumes_path() {
        let root = tempfile::tempdir().unwrap();
        let path = Path::new("/var/lib/kubelet/pods/6c8f/volumes/kubernetes.io~csi/pv/mount");
        assert_eq!(read(root.path(), path).unwrap(), None);
        assert_eq!(
            read(root.path(), Path::new(&"/x".repeat(2000))).unwrap(),
            None
        );
        let dir = root
            .path()
            .join(base64url(path.to_str().unwrap().as_bytes()));
        std::fs::create_dir(&dir).unwrap();
        let text = r#"{"volume-type": "block", "device": "/dev/sdf", "fstype": "ext4",
            "metadata": {"fsGroup": "1000"}, "options": ["noatime"]}"#;
        std::fs::write(dir.join("mountInfo.json"), text).unwrap();
        let expected = DirectVolume {
            device: "/dev/sdf".into(),
            fs_type: "ext4".into(),
            options: vec!["noatime".into()],
            group: Some(1000),
        };
        assert_eq!(read(root.path(), path).unwrap(), Some(expected));
        std::fs::write(dir.join("mountInfo.json"), text.replace("block", "nfs")).unwrap();
        assert!(read(root.path(), path).is_err());
    }
}

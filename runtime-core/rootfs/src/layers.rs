//! Trees whose layers are erofs images: containerd's erofs snapshotter mounts one image per layer
//! on the host, and an overlay of the mounts.

use std::{
    ffi::OsString,
    fs::{self, File},
    os::unix::ffi::OsStringExt,
    path::{Path, PathBuf},
};

use system::{
    erofs::Superblock,
    mounts::{self, Mount},
};

use super::{
    Rootfs, RootfsError, block,
    tree::{Overlay, Tree},
};

/// The images that are the layers of `tree`; `None` if a layer is not an image, or if there are
/// more than `most`.
pub(super) fn from_tree(tree: &Tree, most: usize) -> Result<Option<Rootfs>, RootfsError> {
    let layers: Vec<&PathBuf> = match tree {
        Tree::Directory(directory) => vec![directory],
        Tree::Overlay(overlay) if plain(overlay) => overlay.lowers.iter().collect(),
        Tree::Overlay(_) => return Ok(None),
    };
    if layers.len() > most {
        return Ok(None);
    }
    let mounts = mounts::all().map_err(RootfsError::io("Reading", Path::new(mounts::TABLE)))?;
    let images = layers.into_iter().map(|layer| {
        let image = image_at(&mounts, layer)?;
        (block::is_own_file(&image) && is_whole(&image)).then_some(image)
    });
    Ok(images
        .collect::<Option<Vec<_>>>()
        .map(|images| Rootfs::Layers { images }))
}

/// Whether the overlay shows its lower layers unchanged. The container's own layer is not empty if
/// a container was made of it before.
fn plain(overlay: &Overlay) -> bool {
    let unused = |upper: &PathBuf| fs::read_dir(upper).is_ok_and(|mut all| all.next().is_none());
    overlay.options.is_empty() && overlay.upper.as_ref().is_none_or(unused)
}

/// The image whose whole file system is mounted at `point`.
fn image_at(mounts: &[Mount], point: &Path) -> Option<PathBuf> {
    let mount = mounts::at(mounts, point)?;
    if mount.kind != "erofs" || mount.root != Path::new("/") {
        return None;
    }
    let source = PathBuf::from(&mount.source);
    if !source.starts_with("/dev") {
        return Some(source);
    }
    // Kernels before 6.12 need a loop device.
    let file = format!("/sys/dev/block/{}/loop/backing_file", mount.device);
    let file = fs::read(file).ok()?;
    Some(PathBuf::from(OsString::from_vec(
        file.strip_suffix(b"\n").unwrap_or(&file).to_vec(),
    )))
}

/// Whether an erofs image needs no further devices.
fn is_whole(image: &Path) -> bool {
    let superblock = File::open(image).and_then(|image| Superblock::read(&image));
    matches!(superblock, Ok(Some(superblock)) if superblock.extra_devices == 0)
}

#[cfg(test)]
mod tests {
    use super::*;

    const TABLE: &str = "\
22 1 254:0 / / rw - ext4 /dev/root rw
90 22 0:50 / /s/1/fs ro,relatime shared:7 - erofs /s/1/layer.erofs ro,user_xattr
91 22 0:51 / /s/with\\040space ro - erofs /s/a\\040b ro
92 22 0:52 /sub /s/part ro - erofs /s/3/layer.erofs ro
93 22 0:53 / /s/covered ro - erofs /s/4/layer.erofs ro
94 22 0:54 / /s/covered rw - tmpfs tmpfs rw
";

    #[test]
    fn the_image_behind_a_layer_is_found_and_nothing_else() {
        let mounts = mounts::parse(TABLE.as_bytes());
        let at = |point: &str| image_at(&mounts, Path::new(point));
        assert_eq!(at("/s/1/fs"), Some(PathBuf::from("/s/1/layer.erofs")));
        assert_eq!(at("/s/with space"), Some(PathBuf::from("/s/a b")));
        for other in ["/", "/s/part", "/s/covered", "/s/absent"] {
            assert_eq!(at(other), None, "{other}");
        }
    }

    #[test]
    fn only_a_layer_that_was_never_written_is_left_out() {
        let dir = tempfile::tempdir().unwrap();
        let overlay = |upper: Option<&Path>, options: &[&str]| Overlay {
            upper: upper.map(Path::to_owned),
            lowers: vec![PathBuf::from("/l")],
            options: options.iter().map(|&option| option.to_owned()).collect(),
        };
        assert!(plain(&overlay(None, &[])));
        assert!(plain(&overlay(Some(dir.path()), &[])));
        assert!(!plain(&overlay(None, &["userxattr"])));
        assert!(!plain(&overlay(Some(Path::new("/no/such")), &[])));
        fs::write(dir.path().join("file"), "").unwrap();
        assert!(!plain(&overlay(Some(dir.path()), &[])));
    }
}

//! Trees whose layers are erofs images already: containerd's erofs snapshotter mounts one image per
//! layer on the host and gives an overlay of the mounts.

use std::{
    ffi::OsString,
    fs::{self, File},
    os::unix::ffi::OsStringExt,
    path::{Path, PathBuf},
};

use system::erofs::Superblock;

use super::{
    Rootfs, RootfsError, block,
    tree::{Overlay, Tree},
};
use crate::state::unescape;

/// The images that `tree` is made of; `None` if it has to be read as files, or if there are more
/// than `most`.
pub(super) fn of(tree: &Tree, most: usize) -> Result<Option<Rootfs>, RootfsError> {
    let layers: Vec<&PathBuf> = match tree {
        Tree::Directory(directory) => vec![directory],
        Tree::Overlay(overlay) if plain(overlay) => overlay.lowers.iter().collect(),
        Tree::Overlay(_) => return Ok(None),
    };
    if layers.len() > most {
        return Ok(None);
    }
    let path = Path::new("/proc/thread-self/mountinfo");
    let table = fs::read(path).map_err(RootfsError::io("Reading", path))?;
    let images = layers.into_iter().map(|layer| {
        let image = image_at(&table, layer)?;
        (block::is_own_file(&image) && is_whole(&image)).then_some(image)
    });
    Ok(images
        .collect::<Option<Vec<_>>>()
        .map(|images| Rootfs::Layers { images }))
}

/// Whether nothing is to be seen in it but its lower layers as they are: the container's own layer
/// has something in it when a container was made of it before.
fn plain(overlay: &Overlay) -> bool {
    let unused = |upper: &PathBuf| fs::read_dir(upper).is_ok_and(|mut all| all.next().is_none());
    overlay.options.is_empty() && overlay.upper.as_ref().is_none_or(unused)
}

/// The image that is mounted, whole, at `point`. Form of the table: proc_pid_mountinfo(5). The last
/// mount at a path is the one that is seen.
fn image_at(table: &[u8], point: &Path) -> Option<PathBuf> {
    let mut seen = table.split(|&byte| byte == b'\n').rev().filter_map(|line| {
        let fields: Vec<&[u8]> = line.split(|&byte| byte == b' ').collect();
        (as_path(fields.get(4)?) == point).then_some(fields)
    });
    let fields = seen.next()?;
    let mut rest = fields.iter().skip_while(|field| **field != b"-").skip(1);
    let (kind, source) = (rest.next()?, as_path(rest.next()?));
    if *kind != b"erofs" || *fields.get(3)? != b"/" {
        return None;
    }
    if !source.starts_with("/dev") {
        return Some(source);
    }
    // Kernels before 6.12 need a loop device.
    let device = std::str::from_utf8(fields.get(2)?).ok()?;
    let file = format!("/sys/dev/block/{device}/loop/backing_file");
    let file = fs::read(file).ok()?;
    Some(PathBuf::from(OsString::from_vec(
        file.strip_suffix(b"\n").unwrap_or(&file).to_vec(),
    )))
}

fn as_path(field: &[u8]) -> PathBuf {
    PathBuf::from(OsString::from_vec(unescape(field)))
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
        let at = |point: &str| image_at(TABLE.as_bytes(), Path::new(point));
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

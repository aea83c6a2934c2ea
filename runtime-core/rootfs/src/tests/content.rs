//! An image shows what the tree shows.

use std::{ffi::OsStr, fs::File, io::Write, os::unix::fs::symlink, time::SystemTime};

use nix::sys::stat::{Mode, SFlag, makedev, mknod};
use rustix::fs::{XattrFlags, setxattr};

use super::{
    super::{Mount, tree::Overlay},
    *,
};

/// A tree with one of everything that an image of a container may hold.
fn fill(root: &Path) {
    fs::create_dir_all(root.join("dir/sub/empty")).unwrap();
    fs::write(root.join("file"), "content").unwrap();
    fs::write(root.join("nothing"), "").unwrap();
    fs::write(root.join("large"), vec![7; 3_000_001]).unwrap();
    let mut sparse = File::create(root.join("sparse")).unwrap();
    sparse.set_len(1 << 20).unwrap();
    sparse.write_all(b"start").unwrap();
    fs::hard_link(root.join("file"), root.join("dir/hard link")).unwrap();
    for (name, target) in [
        ("link", "file"),
        ("dangling", "/no/where"),
        ("long", &"x/".repeat(1900)),
    ] {
        symlink(target, root.join(name)).unwrap();
    }
    for name in [
        "with space",
        "new\nline",
        "ütf-8",
        "back\\slash",
        "a:b,c=d",
        &"n".repeat(254),
    ] {
        fs::write(root.join(name), name).unwrap();
    }
    fs::write(root.join(OsStr::from_bytes(b"not-\xff-utf8")), "x").unwrap();
    for (name, kind, number) in [
        ("null", SFlag::S_IFCHR, makedev(1, 3)),
        ("disk", SFlag::S_IFBLK, makedev(259, 70000)),
        ("fifo", SFlag::S_IFIFO, 0),
        ("socket", SFlag::S_IFSOCK, 0),
    ] {
        mknod(
            &root.join(name),
            kind,
            Mode::from_bits_truncate(0o640),
            number,
        )
        .unwrap();
    }
    std::os::unix::fs::chown(root.join("large"), Some(1000), Some(70000)).unwrap();
    for (name, mode) in [
        ("file", "4755"),
        ("nothing", "2711"),
        ("dir", "1777"),
        ("large", "0000"),
    ] {
        run("chmod", &[mode, text(&root.join(name))]);
    }
    // CAP_NET_RAW, permitted and effective: vfs_cap_data of linux/capability.h, revision 2.
    let mut capability = [0u8; 20];
    capability[..8].copy_from_slice(&[1, 0, 0, 2, 0, 0x20, 0, 0]);
    let none = XattrFlags::empty();
    setxattr(root.join("large"), "security.capability", &capability, none).unwrap();
    setxattr(root.join("dir"), "trusted.note", b"kept", none).unwrap();
    for number in 0..5 {
        setxattr(
            root.join("file"),
            format!("user.note{number}"),
            &[number; 300],
            none,
        )
        .unwrap();
    }
    let aged = |name: &str, seconds, nanos| {
        let time = SystemTime::UNIX_EPOCH + std::time::Duration::new(seconds, nanos);
        File::open(root.join(name))
            .unwrap()
            .set_modified(time)
            .unwrap();
    };
    aged("sparse", 0, 0);
    aged("with space", 981_173_106, 789_000_001);
    aged("dir/sub", 4_000_000_000, 0);
}

#[test]
fn an_image_shows_what_its_directory_shows() {
    if !possible() {
        return;
    }
    in_namespace(|| {
        let fixture = Fixture::new();
        let tree = fixture.dir.path().join("tree");
        fill(&tree);
        let (image, made) = fixture.image_of(&tree).unwrap();
        assert!(made);
        assert_eq!(fs::metadata(image.path()).unwrap().mode() & 0o777, 0o600);
        let point = fixture.dir.path().join("point");
        fs::create_dir(&point).unwrap();
        let (wanted, got) = (seen(&tree), seen_in_image(image.path(), &point));
        assert_eq!(wanted.len(), 23);
        for (name, wanted) in &wanted {
            assert_eq!(
                got.get(name),
                Some(wanted),
                "{:?}",
                String::from_utf8_lossy(name)
            );
        }
        assert_eq!(got.len(), wanted.len());
    });
}

/// Two layers and an upper one, with a whiteout, an opaque directory and a replaced file.
fn layers(dir: &Path) -> Overlay {
    let [upper, top, bottom] = ["upper", "top", "bottom"].map(|name| dir.join(name));
    fill(&bottom);
    for path in [top.join("dir"), upper.join("dir/sub")] {
        fs::create_dir_all(path).unwrap();
    }
    fs::write(top.join("file"), "from above").unwrap();
    fs::write(top.join("dir/new"), "new").unwrap();
    let whiteout = |path: PathBuf| {
        mknod(&path, SFlag::S_IFCHR, Mode::empty(), makedev(0, 0)).unwrap();
    };
    whiteout(top.join("nothing"));
    whiteout(upper.join("large"));
    fs::write(upper.join("dir/sub/only"), "opaque").unwrap();
    let opaque = upper.join("dir/sub");
    setxattr(opaque, "trusted.overlay.opaque", b"y", XattrFlags::empty()).unwrap();
    Overlay {
        upper: Some(upper),
        lowers: vec![top, bottom],
        options: Vec::new(),
    }
}

#[test]
fn an_image_shows_what_its_overlay_shows() {
    if !possible() {
        return;
    }
    in_namespace(|| {
        let fixture = Fixture::new();
        let overlay = layers(fixture.dir.path());
        let [merged, work, point] = ["merged", "work", "point"].map(|name| {
            let path = fixture.dir.path().join(name);
            fs::create_dir(&path).unwrap();
            path
        });
        let upper = overlay.upper.clone().unwrap();
        let lowers: Vec<&str> = overlay.lowers.iter().map(|path| text(path)).collect();
        let tree = Tree::from_mount(&Mount {
            fs_type: "overlay".to_owned(),
            source: "overlay".to_owned(),
            options: vec![
                "index=off".to_owned(),
                format!("workdir={}", text(&work)),
                format!("upperdir={}", text(&upper)),
                format!("lowerdir={}", lowers.join(":")),
            ],
            ..Mount::default()
        });
        let tree = tree.unwrap();
        assert_eq!(tree, Tree::Overlay(overlay.clone()));
        let (image, _) = fixture.cache.image_of(&tree).unwrap();
        let options = format!(
            "lowerdir={},upperdir={},workdir={}",
            lowers.join(":"),
            text(&upper),
            text(&work)
        );
        run(
            "mount",
            &["-t", "overlay", "-o", &options, "overlay", text(&merged)],
        );
        let mut wanted = seen(&merged);
        // The other name of the file is hidden by the layer above.
        wanted.get_mut(b"dir/hard link".as_slice()).unwrap().links = 1;
        run("umount", &[text(&merged)]);
        let got = seen_in_image(image.path(), &point);
        assert!(!got.contains_key(b"nothing".as_slice()));
        assert!(!got.contains_key(b"large".as_slice()));
        assert!(!got.contains_key(b"dir/sub/empty".as_slice()));
        assert_eq!(got[b"dir/sub/only".as_slice()].content, b"opaque");
        assert_eq!(got[b"dir".as_slice()].attributes, BTreeMap::new());
        assert_eq!(got, wanted);
    });
}

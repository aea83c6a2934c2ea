//! Which mounts are disks already, and which are nothing that can be used.

use super::{
    super::{Mount, Rootfs, block, prepare},
    *,
};

fn mount_of(fs_type: &str, source: &Path, options: &[&str]) -> Mount {
    Mount {
        fs_type: fs_type.to_owned(),
        source: text(source).to_owned(),
        target: String::new(),
        options: options.iter().map(|&option| option.to_owned()).collect(),
    }
}

#[test]
fn an_image_file_is_attached_as_it_is() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("blockfile");
    fs::write(&file, "x").unwrap();
    let found = block::from_mount(&mount_of("ext4", &file, &["rw", "discard", "loop"])).unwrap();
    let Some(Rootfs::Block {
        path,
        fs_type,
        read_only,
        options,
        loop_backed,
    }) = found
    else {
        panic!("{found:?}");
    };
    assert_eq!((path, fs_type.as_str()), (file.clone(), "ext4"));
    assert_eq!((read_only, loop_backed), (false, true));
    assert_eq!(options, ["discard"]);
    let erofs = block::from_mount(&mount_of("erofs", &file, &["loop"]))
        .unwrap()
        .unwrap();
    assert!(erofs.read_only());
}

#[test]
fn a_block_device_is_attached_as_it_is() {
    let device = Path::new("/dev/loop0");
    if !device.exists() {
        eprintln!("SKIPPED: no {}", device.display());
        return;
    }
    let found = block::from_mount(&mount_of("xfs", device, &["nouuid"]))
        .unwrap()
        .unwrap();
    assert_eq!(found.paths(), [device]);
    assert!(!found.read_only());
}

#[test]
fn only_the_snapshotters_own_disk_is_attached() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("file");
    fs::write(&file, "x").unwrap();
    let link = dir.path().join("link");
    std::os::unix::fs::symlink(&file, &link).unwrap();
    let open = dir.path().join("open");
    fs::write(&open, "x").unwrap();
    run("chmod", &["666", text(&open)]);
    for refused in [
        mount_of("ext4", &link, &["loop"]),
        mount_of("ext4", &open, &["loop"]),
        mount_of("ext4", &file, &[]),
        mount_of("ext4", dir.path(), &["loop"]),
        mount_of("ext4", Path::new("/dev/null"), &[]),
        mount_of("ext4", Path::new("/dev/absent"), &[]),
        mount_of("ext4", Path::new("relative"), &["loop"]),
        mount_of("erofs", &file, &["loop", "device=/other"]),
    ] {
        assert!(block::from_mount(&refused).is_err(), "{refused:?}");
    }
    // A directory is never turned into the disk it is on.
    assert!(
        block::from_mount(&mount_of("bind", dir.path(), &["rbind"]))
            .unwrap()
            .is_none()
    );
}

#[test]
fn what_would_be_guessed_is_refused() {
    let layers = "lowerdir=/a:/b";
    for refused in [
        mount_of("overlay", Path::new("overlay"), &[]),
        mount_of("overlay", Path::new("overlay"), &["lowerdir=a:/b"]),
        mount_of("overlay", Path::new("overlay"), &["lowerdir=/a::/b"]),
        mount_of("overlay", Path::new("overlay"), &["lowerdir=/a\\:x:/b"]),
        mount_of(
            "overlay",
            Path::new("overlay"),
            &[layers, "uidmap=0:1000:1"],
        ),
        mount_of("fuse3.something", Path::new("x"), &[]),
        mount_of("format/mkdir/overlay", Path::new("overlay"), &[layers]),
    ] {
        assert!(Tree::from_mount(&refused).is_err(), "{refused:?}");
    }
    let single = mount_of("overlay", Path::new("overlay"), &["lowerdir=/a", "ro"]);
    assert_eq!(
        Tree::from_mount(&single).unwrap(),
        Tree::Directory(PathBuf::from("/a"))
    );
}

#[tokio::test]
async fn without_mounts_the_bundles_directory_is_the_root() {
    if !possible() {
        return;
    }
    let fixture = Fixture::new();
    let own = fixture.dir.path().join("rootfs");
    fixture.tree("rootfs", "a");
    let log = slog::Logger::root(slog::Discard, slog::o!());
    let made = prepare(&[], &own, &fixture.cache, 4, &log).await.unwrap();
    assert!(matches!(
        &made,
        Rootfs::Erofs {
            packed: Some(_),
            ..
        }
    ));
    let found = prepare(&[], &own, &fixture.cache, 4, &log).await.unwrap();
    assert!(matches!(&found, Rootfs::Erofs { packed: None, .. }));
    assert_eq!(made.paths(), found.paths());
    let mut mount = mount_of("bind", &own, &["rbind"]);
    mount.target = "sub".to_owned();
    let several = [Mount::default(), Mount::default()];
    for refused in [&[mount][..], &several] {
        prepare(refused, &own, &fixture.cache, 4, &log)
            .await
            .unwrap_err();
    }
}

//! What containers get for their mounts.

use std::{fs, os::unix::fs::PermissionsExt, path::Path};

use super::*;
use crate::termination::MAX_MESSAGE;

#[tokio::test]
async fn a_config_volume_is_in_the_guest_whole() {
    let node = Fixture::new().await;
    let volume = node.pod("volumes/kubernetes.io~configmap/config");
    publish(&volume, "..1", &[("key", "value")]);
    let (_provided, spec) = node
        .provide("c", &[(&volume, "/etc/config", "rbind,ro")])
        .await
        .unwrap();
    let path = source(&spec, "/etc/config");
    assert_eq!(
        fs::read_to_string(node.guest.path(path).join("key")).unwrap(),
        "value"
    );
    assert!(
        mount(&spec, "/etc/config")
            .options
            .contains(&"ro".to_owned())
    );
}

#[tokio::test]
async fn containers_share_what_they_mount_alike() {
    let node = Fixture::new().await;
    let hosts = node.host("containers/pod/hosts", "127.0.0.1 localhost\n");
    let (one, first) = node
        .provide("c1", &[(&hosts, "/etc/hosts", "rbind,rw")])
        .await
        .unwrap();
    let (_two, second) = node
        .provide("c2", &[(&hosts, "/etc/hosts", "rbind,rw")])
        .await
        .unwrap();
    assert_eq!(source(&first, "/etc/hosts"), source(&second, "/etc/hosts"));
    assert_eq!(mount(&first, "/etc/hosts").options, ["rbind", "rw"]);
    drop(one);
}

#[tokio::test]
async fn empty_dirs_are_made_in_the_guest_once_and_outlive_a_container() {
    let node = Fixture::new().await;
    let volume = node.pod("volumes/kubernetes.io~empty-dir/cache");
    fs::set_permissions(&volume, fs::Permissions::from_mode(0o2777)).unwrap();
    let mounts = [(volume.as_path(), "/cache", "rbind,rw")];
    let (_, first) = node.provide("init", &mounts).await.unwrap();
    let path = source(&first, "/cache").to_owned();
    let mode = fs::metadata(node.guest.path(&path))
        .unwrap()
        .permissions()
        .mode();
    assert_eq!(mode & 0o7777, 0o2777);
    fs::write(node.guest.path(&path).join("left"), "by init").unwrap();
    let (_, second) = node.provide("main", &mounts).await.unwrap();
    assert_eq!(source(&second, "/cache"), path);
    assert_eq!(node.guest.copied().len(), 1);
}

#[tokio::test]
async fn an_empty_dir_in_memory_is_a_tmpfs_that_is_shared() {
    let node = Fixture::new().await;
    let tmp = Path::new("/dev/shm");
    let dir = tempfile::tempdir_in(tmp).unwrap();
    let volume = dir
        .path()
        .join("pods/6c8f/volumes/kubernetes.io~empty-dir/cache");
    fs::create_dir_all(&volume).unwrap();
    let node = Fixture {
        volumes: Volumes::new(
            ("pod".into(), Some("6c8f".into())),
            VolumeSettings {
                kubelet_root: dir.path().into(),
                ..settings()
            },
            node.guest.connect().await,
            node.vm.clone(),
            Logger::root(Discard, o!()),
        ),
        ..node
    };
    let (provided, spec) = node
        .provide("c", &[(&volume, "/cache", "rbind,rw")])
        .await
        .unwrap();
    let [storage] = provided.storages.as_slice() else {
        panic!("{provided:?}")
    };
    assert_eq!(
        (storage.driver.as_str(), storage.fstype.as_str()),
        ("ephemeral", "tmpfs")
    );
    assert!(storage.shared);
    assert_eq!(storage.mount_point, source(&spec, "/cache"));
    assert!(
        storage.options.contains(&"mode=0755".to_owned()),
        "{:?}",
        storage.options
    );
}

#[test]
fn a_part_of_an_empty_dir_is_asked_for_each_time_and_may_be_a_file() {
    use crate::{
        classify::Way,
        empty_dir::{part, whole},
        source::{Facts, FileSystem, Kind},
    };
    let facts = Facts {
        kind: Kind::Directory,
        file_system: FileSystem::Other,
        versioned: false,
        mode: 0o2775,
        uid: 0,
        gid: 7,
    };
    let way = Way::Scratch { name: "d".into() };
    let of = |path: &str| part(whole(&way, "pod", &facts, None), Path::new(path), &facts);
    let made = of("conf/app.conf");
    // Only the volume itself is copied; what is in it is the guest's to look at.
    assert_eq!(made.directories.len(), 1);
    let [storage] = made.storages.as_slice() else {
        panic!("{made:?}")
    };
    assert_eq!((storage.driver.as_str(), storage.shared), ("local", true));
    assert_eq!(storage.options, ["mode=2775", "uid=0", "gid=7"]);
    assert!(made.path.ends_with("-volumes/d/conf/app.conf"));
    assert_eq!(storage.mount_point, made.path);
    assert_eq!(of("conf/app.conf"), made);
}

#[tokio::test]
async fn paths_of_the_host_are_read_only_and_counted_over_the_pod() {
    let node = Fixture::with(VolumeSettings {
        host_path_limit: 100,
        ..settings()
    })
    .await;
    let one = node.host("srv/one", &"1".repeat(60));
    let two = node.host("srv/two", &"2".repeat(60));
    let (_, spec) = node
        .provide("c1", &[(&one, "/data/one", "rbind,rw")])
        .await
        .unwrap();
    assert_eq!(mount(&spec, "/data/one").options, ["rbind", "ro"]);
    // The same again takes no more room: a container that restarts.
    node.provide("c2", &[(&one, "/data/one", "rbind,rw")])
        .await
        .unwrap();
    let error = node
        .provide("c3", &[(&two, "/data/two", "rbind,ro")])
        .await
        .unwrap_err();
    assert!(
        matches!(error, VolumeError::TooLarge { limit: 40, .. }),
        "{error}"
    );
    assert!(error.is_refusal());
}

#[test]
fn what_containers_wrote_below_a_path_of_the_host_stays() {
    with_own_mounts(|| {
        // Its threads have the mounts of this one.
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .unwrap();
        runtime.block_on(written_and_mounted_again());
    });
}

async fn written_and_mounted_again() {
    let node = Fixture::new().await;
    let memory = node.dir.path().join("srv/memory");
    fs::create_dir_all(&memory).unwrap();
    mount_memory(&memory);
    fs::write(memory.join("file"), "of the host").unwrap();
    let outer = node.dir.path().join("srv");
    let mounts = [(outer.as_path(), "/srv", "rbind,rw")];
    let (first, spec) = node.provide("c1", &mounts).await.unwrap();
    let inside = node.guest.path(source(&spec, "/srv/memory")).join("file");
    assert_eq!(fs::read_to_string(&inside).unwrap(), "of the host");
    fs::write(&inside, "written").unwrap();
    // One beside it, and one that comes when all are gone.
    let (second, _) = node.provide("c2", &mounts).await.unwrap();
    drop((first, second));
    let (_third, spec) = node.provide("c3", &mounts).await.unwrap();
    assert_eq!(
        mount(&spec, "/srv/memory").options,
        ["rbind", "rprivate", "rw"]
    );
    assert_eq!(fs::read_to_string(&inside).unwrap(), "written");
}

#[tokio::test]
async fn what_is_no_file_is_refused_by_name() {
    let node = Fixture::new().await;
    let path = node.dir.path().join("some.sock");
    let _listener = std::os::unix::net::UnixListener::bind(&path).unwrap();
    let error = node
        .provide("c", &[(&path, "/run/some.sock", "rbind,rw")])
        .await
        .unwrap_err();
    let text = error.to_string();
    assert!(
        text.contains("/run/some.sock") && text.contains("a socket"),
        "{text}"
    );
    let absent = node.dir.path().join("absent");
    let error = node
        .provide("c", &[(&absent, "/x", "rbind")])
        .await
        .unwrap_err();
    assert!(
        matches!(
            error,
            VolumeError::Io {
                action: "Opening",
                ..
            }
        ),
        "{error}"
    );
}

#[tokio::test]
async fn a_termination_message_is_written_to_the_file_that_was_mounted() {
    let node = Fixture::new().await;
    let file = node.pod("containers/main").join("3f1c02ab");
    fs::write(&file, "").unwrap();
    let mounts = [(file.as_path(), "/dev/termination-log", "rbind,rw")];
    let (provided, spec) = node.provide("c", &mounts).await.unwrap();
    assert_eq!(
        spec.Annotations["io.kubernetes.container.terminationMessagePath"],
        "/dev/termination-log"
    );
    // Whoever puts another file there later does not get the message.
    let moved = file.with_extension("moved");
    fs::rename(&file, &moved).unwrap();
    let other = node.host("precious", "kept");
    symlink(&other, &file).unwrap();

    let agent = node.guest.connect().await;
    let log = Logger::root(Discard, o!());
    let termination = provided.held.termination().unwrap();
    termination.clone().write_back(&agent, "c", &log).await;
    assert_eq!(fs::read_to_string(&moved).unwrap(), "");
    node.guest
        .leave_message(&format!("{}why it ended", "x".repeat(MAX_MESSAGE)));
    termination.write_back(&agent, "c", &log).await;
    let written = fs::read_to_string(&moved).unwrap();
    assert!(written.ends_with("why it ended") && written.len() == MAX_MESSAGE);
    assert_eq!(fs::read_to_string(other).unwrap(), "kept");
}

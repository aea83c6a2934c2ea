//! Volumes and mounts: where they are found, where they go, what containers cannot make of that.

use std::{
    fs,
    os::unix::fs::{PermissionsExt, symlink},
    path::{Path, PathBuf},
    slice,
};

use agent_client::{
    agent::{FSGroup, Storage},
    oci::{Mount, Process, User},
};

use super::{Plain, process};

impl Plain {
    /// What a container prints that is made with these storages and mounts.
    async fn says(
        &self,
        id: &str,
        process: Process,
        storages: &[Storage],
        mounts: &[Mount],
    ) -> ttrpc::Result<String> {
        self.create_with(id, process, storages, mounts).await?;
        self.start_created(id).await;
        let output = self.output(id, "").await;
        self.wait(id, "").await;
        self.remove(id).await;
        Ok(String::from_utf8(output).unwrap())
    }

    /// Path of a volume below the agent's directory, which the tests fill themselves.
    fn volume(&self, name: &str) -> PathBuf {
        let volume = self.directory.path().join("run/volumes").join(name);
        fs::create_dir_all(&volume).unwrap();
        fs::set_permissions(&volume, fs::Permissions::from_mode(0o777)).unwrap();
        volume
    }
}

fn bind(source: &Path, destination: &str, options: &[&str]) -> Mount {
    Mount {
        destination: destination.into(),
        source: source.to_str().unwrap().into(),
        type_: "bind".into(),
        options: options.iter().map(|&option| option.to_owned()).collect(),
        ..Default::default()
    }
}

fn local(path: &Path, mode: &str) -> Storage {
    Storage {
        driver: "local".into(),
        source: "local".into(),
        fstype: "local".into(),
        options: vec![format!("mode={mode}")],
        mount_point: path.to_str().unwrap().into(),
        shared: true,
        ..Default::default()
    }
}

fn script(text: &str) -> Process {
    process(&["sh", "-c", text])
}

fn mode(path: &Path) -> u32 {
    fs::metadata(path).unwrap().permissions().mode() & 0o7777
}

/// A container that has a whole volume replaces a directory by a link; another container has a
/// part of that directory.
#[tokio::test(flavor = "multi_thread")]
async fn a_part_of_a_volume_is_never_found_through_a_link() {
    let Some(plain) = Plain::start().await else {
        return;
    };
    let volume = plain.volume("vol");
    let whole = bind(&volume, "/vol", &["rbind"]);
    let part = bind(&volume.join("sub"), "/part", &["rbind"]);
    let sub = local(&volume.join("sub"), "0777");
    let list = || script("busybox ls /part");
    let seen = plain
        .says("b", list(), slice::from_ref(&sub), slice::from_ref(&part))
        .await;
    assert_eq!(seen.unwrap(), "");
    let mut exchange = script("cd /vol && busybox rmdir sub && busybox ln -s / sub && echo done");
    exchange.User = Some(User {
        UID: 1000,
        GID: 1000,
        ..Default::default()
    })
    .into();
    let said = plain
        .says("a", exchange, &[], slice::from_ref(&whole))
        .await;
    assert_eq!(said.unwrap(), "done\n");
    for storages in [&[][..], slice::from_ref(&sub)] {
        let refused = plain
            .says("b", list(), storages, slice::from_ref(&part))
            .await;
        let refused = refused.unwrap_err().to_string();
        assert!(
            refused.contains("Too many levels of symbolic links"),
            "{refused}"
        );
    }
    // A directory that is gone is made again.
    let remove = script("busybox rm /vol/sub");
    plain.says("a", remove, &[], &[whole]).await.unwrap();
    let seen = plain.says("b", list(), &[sub], &[part]).await;
    assert_eq!(seen.unwrap(), "");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_storage_below_a_link_changes_nothing_outside() {
    let Some(plain) = Plain::start().await else {
        return;
    };
    let outside = tempfile::tempdir().unwrap();
    let there = outside.path().join("y");
    fs::create_dir(&there).unwrap();
    fs::set_permissions(&there, fs::Permissions::from_mode(0o755)).unwrap();
    let volume = plain.volume("vol");
    symlink(outside.path(), volume.join("x")).unwrap();
    for path in ["x/y", "x/new"] {
        let storage = local(&volume.join(path), "0777");
        let refused = plain
            .create_with("b", process(&["true"]), &[storage], &[])
            .await;
        assert!(refused.is_err(), "{path}");
    }
    assert_eq!(mode(&there), 0o755);
    assert_eq!(fs::read_dir(outside.path()).unwrap().count(), 1);
}

/// A storage that is not shared goes with its container, and never with what a link leads to.
#[tokio::test(flavor = "multi_thread")]
async fn a_storage_that_goes_takes_nothing_outside_along() {
    let Some(plain) = Plain::start().await else {
        return;
    };
    let outside = tempfile::tempdir().unwrap();
    fs::create_dir(outside.path().join("sub")).unwrap();
    let volume = plain.volume("vol");
    let (kept, gone) = (volume.join("x/sub"), volume.join("gone"));
    let storages = [&kept, &gone].map(|path| Storage {
        shared: false,
        ..local(path, "0755")
    });
    let container = process(&["true"]);
    plain
        .create_with("b", container, &storages, &[])
        .await
        .unwrap();
    fs::rename(volume.join("x"), volume.join("y")).unwrap();
    symlink(outside.path(), volume.join("x")).unwrap();
    let mut request = agent_client::agent::RemoveContainerRequest::new();
    request.container_id = "b".into();
    let removed = plain.client.remove_container(super::soon(), &request).await;
    assert!(removed.is_err(), "what is not there cannot be removed");
    assert!(outside.path().join("sub").is_dir() && !gone.exists());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_part_is_what_the_guest_has() {
    let Some(plain) = Plain::start().await else {
        return;
    };
    let volume = plain.volume("vol");
    fs::write(volume.join("file"), "content").unwrap();
    let (file, new) = (volume.join("file"), volume.join("new/deep"));
    let storages = [local(&file, "0755"), local(&new, "0750")];
    let mounts = [
        bind(&file, "/etc/file", &["rbind", "ro"]),
        bind(&new, "/new", &["rbind"]),
    ];
    let seen = plain.says(
        "b",
        script("cat /etc/file; echo x > /new/f"),
        &storages,
        &mounts,
    );
    assert_eq!(seen.await.unwrap(), "content");
    assert_eq!(mode(&new), 0o750);
    assert!(new.join("f").is_file());
}

#[tokio::test(flavor = "multi_thread")]
async fn destinations_are_resolved_within_the_root() {
    let Some(plain) = Plain::start().await else {
        return;
    };
    let rootfs = plain.directory.path().join("rootfs");
    fs::create_dir(rootfs.join("etc")).unwrap();
    symlink("../run/absent/resolv.conf", rootfs.join("etc/resolv.conf")).unwrap();
    symlink("../../../../../../../tmp/x/absent", rootfs.join("data")).unwrap();
    let volume = plain.volume("vol");
    fs::write(volume.join("file"), "of the volume").unwrap();
    symlink("/srv", volume.join("link")).unwrap();
    let mounts = [
        bind(&volume.join("file"), "/etc/resolv.conf", &["rbind"]),
        bind(&volume, "/data", &["rbind", "ro"]),
        bind(&volume, "/data/link/below", &["rbind"]),
        bind(&volume, "/data/new/below", &["rbind"]),
    ];
    let look = "cat /run/absent/resolv.conf; for d in /tmp/x/absent /srv/below /data/new/below; do \
        cat $d/file > /dev/null && echo $d; done; echo x > /srv/below/w; \
        echo x 2> /dev/null > /data/w || echo read-only";
    let seen = plain.says("b", script(look), &[], &mounts).await.unwrap();
    assert_eq!(
        seen,
        "of the volume/tmp/x/absent\n/srv/below\n/data/new/below\nread-only\n"
    );
    assert!(!Path::new("/tmp/x").exists());
}

/// `ro` makes the mount itself read-only, `rro` also the mounts below it.
#[tokio::test(flavor = "multi_thread")]
async fn read_only_is_recursive_only_if_asked_for() {
    let Some(plain) = Plain::start().await else {
        return;
    };
    let volume = plain.volume("vol");
    let inner = volume.join("inner");
    fs::create_dir(&inner).unwrap();
    let tmpfs = Some("tmpfs");
    nix::mount::mount(
        tmpfs,
        &inner,
        tmpfs,
        nix::mount::MsFlags::empty(),
        None::<&str>,
    )
    .unwrap();
    for (option, expected) in [
        ("ro", "read-only\nwritten\n"),
        ("rro", "read-only\nread-only\n"),
    ] {
        let mounts = [bind(&volume, "/vol", &["rbind", option])];
        let look = "for d in /vol /vol/inner; do \
            busybox touch $d/f 2> /dev/null && echo written || echo read-only; done";
        let seen = plain.says("b", script(look), &[], &mounts).await;
        assert_eq!(seen.unwrap(), expected, "{option}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_tmpfs_is_what_its_options_say() {
    let Some(plain) = Plain::start().await else {
        return;
    };
    let volume = plain.volume("vol");
    let tmpfs = |destination: &str, options: &[&str]| Mount {
        type_: "tmpfs".into(),
        ..bind(Path::new("tmpfs"), destination, options)
    };
    let mounts = [
        tmpfs("/new/tmp", &["rprivate", "size=4m", "mode=0750", "noexec"]),
        tmpfs("/read-only", &["ro", "size=4m", "norelatime", "rnosuid"]),
        bind(&volume, "/read-only/below/it", &["rbind"]),
    ];
    let look = "busybox df -k /new/tmp | busybox awk '/[0-9]%/ { print $2 }'; \
        busybox stat -c %a /new/tmp; \
        busybox grep -c '/new/tmp tmpfs rw,noexec' /proc/mounts; \
        for d in /new/tmp /read-only /read-only/below/it; do \
        busybox touch $d/f 2> /dev/null && echo written || echo read-only; done";
    let seen = plain.says("b", script(look), &[], &mounts).await.unwrap();
    assert_eq!(seen, "4096\n750\n1\nwritten\nread-only\nwritten\n");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_mount_that_fails_is_named() {
    let Some(plain) = Plain::start().await else {
        return;
    };
    let volume = plain.volume("vol");
    let tmpfs = Mount {
        destination: "/tmp".into(),
        source: "tmpfs".into(),
        type_: "tmpfs".into(),
        options: vec!["size=much".into()],
        ..Default::default()
    };
    for (mount, words) in [
        (
            bind(&volume, "/bin/sh", &["rbind"]),
            "at /bin/sh: Not a directory",
        ),
        (
            bind(&volume.join("x"), "/x", &["rbind"]),
            "at /x: No such file or directory",
        ),
        (tmpfs, "mount a tmpfs at /tmp (size=much): Invalid argument"),
    ] {
        let refused = plain
            .create_with("b", process(&["true"]), &[], &[mount])
            .await;
        let refused = refused.unwrap_err().to_string();
        assert!(
            refused.contains(words) && !refused.contains("rootfs:"),
            "{refused}"
        );
    }
}

/// An unknown mount would never be unmounted.
#[tokio::test(flavor = "multi_thread")]
async fn a_storage_that_fails_halfway_is_not_left_mounted() {
    let Some(plain) = Plain::start().await else {
        return;
    };
    let point = plain.directory.path().join("run/half");
    let group = FSGroup {
        group_id: 1000,
        ..Default::default()
    };
    // A directory that even root cannot give away.
    let storage = Storage {
        driver: "bind".into(),
        source: "/proc/1".into(),
        mount_point: point.to_str().unwrap().into(),
        fs_group: Some(group).into(),
        ..Default::default()
    };
    let refused = plain
        .create_with("b", process(&["true"]), &[storage], &[])
        .await;
    let refused = refused.unwrap_err().to_string();
    assert!(refused.contains("change the group of"), "{refused}");
    let mounts = fs::read_to_string("/proc/self/mounts").unwrap();
    assert!(!mounts.contains(point.to_str().unwrap()), "{mounts}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_read_only_storage_keeps_its_group() {
    let Some(plain) = Plain::start().await else {
        return;
    };
    let point = plain.directory.path().join("run/ro");
    let storage = |options: &[&str]| Storage {
        driver: "ephemeral".into(),
        source: "tmpfs".into(),
        fstype: "tmpfs".into(),
        options: options.iter().map(|&option| option.to_owned()).collect(),
        mount_point: point.to_str().unwrap().into(),
        ..Default::default()
    };
    let mounts = [bind(&point, "/ro", &["rbind"])];
    for (options, group) in [
        (&["fsgid=1000", "ro"][..], "0\n"),
        (&["fsgid=1000"], "1000\n"),
    ] {
        let look = script("busybox stat -c %g /ro");
        let seen = plain.says("b", look, &[storage(options)], &mounts).await;
        assert_eq!(seen.unwrap(), group, "{options:?}");
    }
}

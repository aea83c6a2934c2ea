//! Volumes as kubelet makes them: config maps that change, emptyDirs, files, termination messages.

use std::{fs, os::unix::fs::symlink, path::Path};

use e2e_tests::harness::Case;
use playground::{
    Error, Result,
    cri::{Kubelet, api},
    ensure,
    node::Node,
};

use crate::pods::{self, SERVICE, same};

pub fn cases() -> Vec<Case> {
    vec![
        Case::new(
            "volumes::a_config_map_changes_while_the_pod_runs",
            config_map,
        ),
        Case::new("volumes::files_hosts_and_termination_messages", files),
        Case::new(
            "volumes::empty_dirs_are_shared_and_end_with_the_pod",
            empty_dirs,
        ),
        Case::new("volumes::an_optional_config_map_comes_later", optional),
        Case::new("volumes::a_unix_socket_crosses_an_empty_dir", unix_socket),
    ]
}

/// A mount of a path of the host.
fn mount(host: &Path, container: &str, readonly: bool) -> api::Mount {
    let mut mount = pods::mount(host, container);
    mount.readonly = readonly;
    mount
}

fn write(path: &Path, text: &str) -> Result<()> {
    fs::write(path, text).map_err(Error::io("Writing", path))
}

/// Writes a version of a volume as kubelet's atomic writer does: a directory with a name of its
/// own, and a link `..data` to it that is exchanged at once.
fn publish(volume: &Path, version: &str, files: &[(&str, &str)]) -> Result<()> {
    let data = volume.join(format!("..{version}"));
    fs::create_dir(&data).map_err(Error::io("Making", &data))?;
    for (name, text) in files {
        write(&data.join(name), text)?;
        let link = volume.join(name);
        if fs::symlink_metadata(&link).is_err() {
            symlink(Path::new("..data").join(name), &link).map_err(Error::io("Linking", &link))?;
        }
    }
    let aside = volume.join("..data_tmp");
    symlink(format!("..{version}"), &aside).map_err(Error::io("Linking", &aside))?;
    let current = volume.join("..data");
    let before = fs::read_link(&current).ok();
    fs::rename(&aside, &current).map_err(Error::io("Exchanging", &current))?;
    if let Some(before) = before {
        let before = volume.join(before);
        fs::remove_dir_all(&before).map_err(Error::io("Removing", &before))?;
    }
    Ok(())
}

fn config_map(node: &Node) -> Result<()> {
    let kubelet = Kubelet::new(node);
    let pod = kubelet.run("config")?;
    let volume = pod.volume("kubernetes.io~configmap", "config")?;
    publish(&volume, "2024_1", &[("key", "first"), ("pair", "first")])?;
    let container = pod.start_with("config", SERVICE, |config| {
        config.mounts.push(mount(&volume, "/config", true));
    })?;
    same("The key", &container.shell("cat /config/key")?, "first")?;
    let (code, _, _) = container.exec(&["sh", "-c", "echo x > /config/key"])?;
    ensure!(
        code != 0 || !kubelet.is_imprint() || container.shell("cat /config/key")?.trim() == "first",
        "It can be written"
    );
    // Whoever reads both files through one look at the link sees one version.
    let watch = "for i in $(seq 200); do cd /config/..data; a=$(cat key); b=$(cat pair); cd /; \
                 [ \"$a\" = \"$b\" ] || { echo torn: $a $b; exit 1; }; [ \"$a\" = second ] && \
                 { echo changed; exit 0; }; \
                 sleep 0.05; done; exit 2";
    let watching = pod.start_with("watching", watch, |config| {
        config.mounts.push(mount(&volume, "/config", true));
    })?;
    publish(&volume, "2024_2", &[("key", "second"), ("pair", "second")])?;
    let ended = watching.ended()?;
    ensure!(ended.exit_code == 0, "{ended} {:?}", watching.log());
    same(
        "The other container",
        &container.shell("cat /config/key")?,
        "second",
    )?;
    let gone = "for i in $(seq 100); do [ -e /config/..2024_1 ] || exit 0; sleep 0.1; done; \
        ls -A /config; exit 1";
    container.shell(gone)?;
    pod.remove()
}

fn files(node: &Node) -> Result<()> {
    let kubelet = Kubelet::new(node);
    let pod = kubelet.run("files")?;
    let hosts = pod.directory().join("etc-hosts");
    write(&hosts, "127.0.0.1 localhost\n10.1.2.3 a-name-of-kubelet\n")?;
    let logs = pod.directory().join("containers/files");
    fs::create_dir_all(&logs).map_err(Error::io("Making", &logs))?;
    let message = logs.join("1a2b3c4d");
    write(&message, "")?;
    let file = pod.directory().join("a-file");
    write(&file, "of the host")?;
    let script = "cat /file; grep -c a-name-of-kubelet /etc/hosts; \
        echo the last words > /dev/termination-log; exit 6";
    let container = pod.start_with("files", script, |config| {
        config.mounts.push(mount(&hosts, "/etc/hosts", false));
        config
            .mounts
            .push(mount(&message, "/dev/termination-log", false));
        config.mounts.push(mount(&file, "/file", true));
    })?;
    let ended = container.ended()?;
    ensure!(ended.exit_code == 6, "{ended} {:?}", container.log());
    container.logged("of the host1")?;
    let told = fs::read_to_string(&message).map_err(Error::io("Reading", &message))?;
    same("The termination message", &told, "the last words")?;
    same(
        "The file",
        &fs::read_to_string(&file).unwrap_or_default(),
        "of the host",
    )?;
    pod.remove()
}

fn empty_dirs(node: &Node) -> Result<()> {
    let kubelet = Kubelet::new(node);
    let pod = kubelet.run("empty")?;
    let disk = pod.volume("kubernetes.io~empty-dir", "cache")?;
    let both =
        |config: &mut api::ContainerConfig| config.mounts.push(mount(&disk, "/cache", false));
    let one = pod.start_with("one", SERVICE, both)?;
    let two = pod.start_with("two", SERVICE, both)?;
    one.shell(
        "mkdir /cache/deep && echo from-one > /cache/deep/file && mkfifo /cache/pipe && \
        chmod 640 /cache/deep/file",
    )?;
    same(
        "File",
        &two.shell("cat /cache/deep/file; stat -c %a /cache/deep/file")?,
        "from-one\n640",
    )?;
    // A container that comes later, as one that was restarted, finds what was left.
    one.stop(5)?;
    one.remove()?;
    let later = pod.start_with("later", SERVICE, both)?;
    same(
        "Later",
        &later.shell("cat /cache/deep/file; test -p /cache/pipe && echo pipe")?,
        "from-one\npipe",
    )?;
    pod.remove()
}

/// What is optional and does not exist is an empty volume, until it does.
fn optional(node: &Node) -> Result<()> {
    let kubelet = Kubelet::new(node);
    let pod = kubelet.run("optional")?;
    let map = pod.volume("kubernetes.io~configmap", "later")?;
    let secret = pod.volume("kubernetes.io~secret", "never")?;
    publish(&map, "2024_1", &[])?;
    publish(&secret, "2024_1", &[])?;
    let container = pod.start_with("optional", SERVICE, |config| {
        config.mounts.push(mount(&map, "/map", true));
        config.mounts.push(mount(&secret, "/secret", true));
    })?;
    same(
        "Both volumes",
        &container.shell("ls /map /secret")?,
        "/map:\n\n/secret:",
    )?;
    publish(&map, "2024_2", &[("key", "come")])?;
    let come = "for i in $(seq 100); do [ -e /map/key ] && break; sleep 0.1; done; cat /map/key; \
        ls /secret";
    same("The key", &container.shell(come)?, "come")?;
    pod.remove()
}

/// A datagram from one container to a socket that another has bound.
fn unix_socket(node: &Node) -> Result<()> {
    let kubelet = Kubelet::new(node);
    let pod = kubelet.run("socket")?;
    let shared = pod.volume("kubernetes.io~empty-dir", "shared")?;
    let both =
        |config: &mut api::ContainerConfig| config.mounts.push(mount(&shared, "/shared", false));
    let link = "ln -sf /shared/log /dev/log";
    let server = format!(
        "{link}; syslogd -n -O - | while read -r line; do case \"$line\" in *across-the-socket) \
            echo crossed;; esac; done"
    );
    let server = pod.start_with("server", &server, both)?;
    let client = pod.start_with("client", SERVICE, both)?;
    let bound = "for i in $(seq 100); do [ -S /shared/log ] && exit 0; sleep 0.1; done; exit 1";
    client.shell(bound)?;
    client.shell(&format!("{link}; logger -t client across-the-socket"))?;
    server.logged("crossed")?;
    pod.remove()
}

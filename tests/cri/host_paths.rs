//! What a pod mounts by a path that is not its own: a read-only copy at most, and nothing where the
//! node refuses paths of the host.

use std::{fs, path::Path};

use e2e_tests::harness::Case;
use playground::{
    Error, Result,
    cri::{Kubelet, Pod, api},
    ensure,
    node::Node,
};

use crate::pods::{mount, same};

pub fn cases() -> Vec<Case> {
    vec![Case::new(
        "host_paths::what_is_another_pods_is_the_hosts",
        another_pods,
    )]
}

fn write(path: &Path, text: &str) -> Result<()> {
    let directory = path.parent().unwrap_or(path);
    fs::create_dir_all(directory).map_err(Error::io("Making", directory))?;
    fs::write(path, text).map_err(Error::io("Writing", path))
}

/// Settings of the node beside its file, as long as this lives.
struct DropIn(std::path::PathBuf);

impl DropIn {
    fn on(node: &Node, text: &str) -> Result<Self> {
        let directory = node.directory().join("config.d");
        write(&directory.join("host-paths.toml"), text)?;
        Ok(Self(directory))
    }
}

impl Drop for DropIn {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

fn another_pods(node: &Node) -> Result<()> {
    let kubelet = Kubelet::new(node);
    let pod = kubelet.run("own")?;
    let other = pod.directory().with_extension("of-another");
    let (secret, log) = (
        other.join("volumes/kubernetes.io~secret/token"),
        other.join("containers/c/1234"),
    );
    write(&secret.join("key"), "secret")?;
    write(&log, "")?;
    // Not the pod's, whatever it is mounted at.
    let hosts = other.join("a-file");
    write(&hosts, "of another")?;

    if kubelet.is_imprint() {
        let script = "cat /secret/key /etc/hosts; echo x > /secret/key; echo x > /etc/hosts; \
                      echo x > /dev/termination-log; exit 0";
        let container = pod.start_with("copy", script, |config| {
            config.mounts.push(mount(&secret, "/secret"));
            config.mounts.push(mount(&hosts, "/etc/hosts"));
            config.mounts.push(mount(&log, "/dev/termination-log"));
        })?;
        let ended = container.ended()?;
        ensure!(ended.exit_code == 0, "{ended} {:?}", container.log());
        container.logged("secretof another")?;
        let lines = container.log();
        let refused = lines
            .iter()
            .filter(|(_, line)| line.contains("Read-only file system"));
        let refused = refused.count();
        ensure!(refused == 3, "{:?}", container.log());
    }
    pod.remove()?;
    let read = |path: &Path| fs::read_to_string(path).map_err(Error::io("Reading", path));
    same("The message of the other pod", &read(&log)?, "")?;
    same(
        "The other pod's secret",
        &read(&secret.join("key"))?,
        "secret",
    )?;

    let _strict = DropIn::on(node, "[runtime]\nhost_path_volumes = \"refuse\"\n")?;
    let pod = kubelet.run("strict")?;
    for (name, path, destination) in [
        ("secret", &secret, "/secret"),
        ("hosts", &hosts, "/etc/hosts"),
        ("log", &log, "/dev/termination-log"),
    ] {
        refuses(&kubelet, &pod, name, &mount(path, destination))?;
    }
    own(&pod)?;
    let made = pod.remove();
    fs::remove_dir_all(&other).map_err(Error::io("Removing", &other))?;
    made
}

fn refuses(kubelet: &Kubelet, pod: &Pod<'_>, name: &str, mount: &api::Mount) -> Result<()> {
    if !kubelet.is_imprint() {
        return Ok(());
    }
    let started = pod.start_with(name, "true", |config| config.mounts.push(mount.clone()));
    let words = started.map(drop).err().map(|error| error.to_string());
    ensure!(
        words
            .as_ref()
            .is_some_and(|words| words.contains("host_path_volumes")),
        "{}: {words:?}",
        mount.host_path
    );
    Ok(())
}

/// What is the pod's own works where paths of the host are refused.
fn own(pod: &Pod<'_>) -> Result<()> {
    let secret = pod.volume("kubernetes.io~secret", "token")?;
    write(&secret.join("key"), "mine")?;
    let hosts = pod.directory().join("etc-hosts");
    write(&hosts, "10.1.2.3 a-name-of-kubelet\n")?;
    let message = pod.directory().join("containers/own/1a2b3c4d");
    write(&message, "")?;
    let script = "cat /secret/key; grep -c a-name-of-kubelet /etc/hosts; \
                  hostname > /dev/termination-log; exit 6";
    let container = pod.start_with("own", script, |config| {
        config.mounts.push(mount(&secret, "/secret"));
        config.mounts.push(mount(&hosts, "/etc/hosts"));
        config.mounts.push(mount(&message, "/dev/termination-log"));
    })?;
    let ended = container.ended()?;
    ensure!(ended.exit_code == 6, "{ended} {:?}", container.log());
    container.logged("mine1")?;
    let told = fs::read_to_string(&message).map_err(Error::io("Reading", &message))?;
    same("The termination message", &told, "strict")
}

//! Mounts of the host: copied, kept up to date, written back, or refused.

use std::{
    fs,
    os::unix::{fs::symlink, net::UnixListener},
    path::{Path, PathBuf},
    time::Duration,
};

use e2e_tests::harness::Case;
use nix::mount::{MsFlags, mount, umount};
use playground::{Error, Result, ctr::Run, ensure, node::Node, program::Program};

pub fn cases() -> Vec<Case> {
    vec![
        Case::new("a_config_map_changes_in_one_step", config_map),
        Case::new("hosts_and_resolver_are_the_pods_own", pod_files),
        Case::new("a_termination_message_arrives", termination),
        Case::new("a_block_device_is_a_disk", block_device),
        Case::new(
            "an_empty_dir_is_shared_by_the_containers_of_a_pod",
            empty_dir,
        ),
        Case::new("host_paths_are_read_only_copies_within_bounds", host_paths),
    ]
}

/// Within this time a change on the host must be seen in the guest.
const SOON: Duration = Duration::from_secs(2);

/// The pod's uid, by which kubelet names its directory.
const UID: &str = "6c8f";

/// kubelet's directory of a node. Dropped, it is gone and the node knows nothing of it.
struct Kubelet {
    root: PathBuf,
    drop_in: PathBuf,
}

impl Kubelet {
    fn on(node: &Node) -> Result<Self> {
        let root = node.directory().join("kubelet");
        let drop_in = node.directory().join("config.d");
        create(&root)?;
        create(&drop_in)?;
        let text = format!(
            "[runtime]\nkubelet_root_dir = \"{}\"\nhost_path_copy_limit_mib = 1\n",
            root.display()
        );
        write(&drop_in.join("volumes.toml"), &text)?;
        Ok(Self { root, drop_in })
    }

    /// A directory of the pod.
    fn pod(&self, path: &str) -> Result<PathBuf> {
        let path = self.root.join("pods").join(UID).join(path);
        create(&path)?;
        Ok(path)
    }
}

impl Drop for Kubelet {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.root);
        let _ = fs::remove_dir_all(&self.drop_in);
    }
}

fn create(path: &Path) -> Result<()> {
    fs::create_dir_all(path).map_err(Error::io("Creating", path))
}

fn write(path: &Path, text: &str) -> Result<()> {
    fs::write(path, text).map_err(Error::io("Writing", path))
}

fn mounted(run: Run, source: &Path, destination: &str, options: &str) -> Run {
    let source = source.display();
    run.flag("--mount").flag(&format!(
        "type=bind,src={source},dst={destination},options={options}"
    ))
}

/// Says which pod it is.
fn of_pod(run: Run) -> Run {
    run.flag("--annotation")
        .flag(&format!("io.kubernetes.cri.sandbox-uid={UID}"))
}

/// A file system on a directory of the host. Dropped, it is gone.
struct Mounted(PathBuf);

impl Mounted {
    fn on(path: &Path, fs_type: &str, options: &str) -> Result<Self> {
        let flags = MsFlags::empty();
        mount(Some(fs_type), path, Some(fs_type), flags, Some(options))
            .map_err(|errno| Error::io("Mounting", path)(errno.into()))?;
        Ok(Self(path.to_owned()))
    }
}

impl Mounted {
    /// A part of a volume, as kubelet binds it for a subPath.
    fn part(kubelet: &Kubelet, volume: &Path, name: &str) -> Result<Self> {
        let part = volume.join("sub");
        create(&part)?;
        let path = kubelet.pod(&format!("volume-subpaths/{name}/main/0"))?;
        mount(
            Some(&part),
            &path,
            None::<&str>,
            MsFlags::MS_BIND,
            None::<&str>,
        )
        .map_err(|errno| Error::io("Binding", &path)(errno.into()))?;
        Ok(Self(path))
    }
}

impl Drop for Mounted {
    fn drop(&mut self) {
        let _ = umount(&self.0);
    }
}

/// A loop device of the host. Dropped, it is gone.
struct Loop(String);

impl Loop {
    fn on(file: &Path) -> Result<Self> {
        let file = file.to_string_lossy();
        let device = Program::new("losetup")
            .args(["--find", "--show", &file])
            .succeed()?;
        Ok(Self(device.trim().to_owned()))
    }
}

impl Drop for Loop {
    fn drop(&mut self) {
        let _ = Program::new("losetup").args(["--detach", &self.0]).run();
    }
}

/// Replaces a volume's content as kubelet does.
fn publish(volume: &Path, version: &str, files: &[(&str, &str)]) -> Result<()> {
    create(&volume.join(version))?;
    for (name, text) in files {
        write(&volume.join(version).join(name), text)?;
    }
    let (current, aside) = (volume.join("..data"), volume.join("..data_tmp"));
    let before = fs::read_link(&current).ok();
    symlink(version, &aside).map_err(Error::io("Linking", &aside))?;
    fs::rename(&aside, &current).map_err(Error::io("Renaming", &aside))?;
    for (name, _) in files {
        let link = volume.join(name);
        if !link.is_symlink() {
            symlink(format!("..data/{name}"), &link).map_err(Error::io("Linking", &link))?;
        }
    }
    if let Some(before) = before.map(|before| volume.join(before)) {
        fs::remove_dir_all(&before).map_err(Error::io("Removing", &before))?;
    }
    Ok(())
}

fn config_map(node: &Node) -> Result<()> {
    let kubelet = Kubelet::on(node)?;
    let volume = kubelet.pod("volumes/kubernetes.io~configmap/config")?;
    publish(&volume, "..1", &[("a", "old"), ("b", "old")])?;
    // Both keys are read through one link, so they are always of one version.
    let script = "cd /config; cat a b; echo; \
        until v=$(cd ..data && cat a b) && [ \"$v\" != oldold ]; do :; done; echo \"now $v\"; \
        until [ -e c ]; do :; done; cat c; echo; touch x 2>/dev/null && echo writable; \
        read line; ls -A; exit 0";
    let mut running = mounted(of_pod(node.run("config")), &volume, "/config", "rbind:ro")
        .shell(script)
        .open_input()
        .start()?;
    running.read_until("oldold\n")?;
    publish(
        &volume,
        "..2",
        &[("a", "new"), ("b", "new"), ("c", "added")],
    )?;
    running.read_until_within("now newnew\n", SOON)?;
    running.read_until_within("added\n", SOON)?;
    running.write(b"\n");
    let ended = running.finish()?;
    ensure!(ended.code == 0, "{ended:?}");
    ensure!(!ended.stdout.contains("writable"), "{}", ended.stdout);
    ensure!(
        ended.stdout.ends_with("added\n..2\n..data\na\nb\nc\n"),
        "The version before is still there: {}",
        ended.stdout
    );
    Ok(())
}

fn pod_files(node: &Node) -> Result<()> {
    let _kubelet = Kubelet::on(node)?;
    let id = node.unique_id("hosts");
    let directory = own_directory(node)?.join("containers").join(&id);
    create(&directory)?;
    let hosts = directory.join("hosts");
    write(&hosts, "192.0.2.7 first\n")?;
    let script = "cat /etc/hosts; until grep -q second /etc/hosts; do :; done; \
        echo '# mine' >> /etc/hosts; cat /etc/hosts";
    let mut running = mounted(node.ctr().run(&id), &hosts, "/etc/hosts", "rbind:rw")
        .shell(script)
        .start()?;
    running.read_until("first\n")?;
    write(&hosts, "192.0.2.8 second\n")?;
    running.read_until_within("192.0.2.8 second\n# mine\n", SOON)?;
    let ended = running.finish()?;
    ensure!(ended.code == 0, "{ended:?}");
    let left = fs::read_to_string(&hosts).map_err(Error::io("Reading", &hosts))?;
    ensure!(
        left == "192.0.2.8 second\n",
        "The guest wrote to the host: {left:?}"
    );
    Ok(())
}

fn termination(node: &Node) -> Result<()> {
    let kubelet = Kubelet::on(node)?;
    let file = kubelet.pod("containers/main")?.join("3f1c02ab");
    for (script, expected) in [
        (
            "printf 'out of tune' > /dev/termination-log; exit 3".to_owned(),
            "out of tune".to_owned(),
        ),
        ("exit 3".to_owned(), String::new()),
        (
            "yes x | head -c 9000 | tr -d '\\n' > /dev/termination-log; \
                printf end >> /dev/termination-log; exit 3"
                .to_owned(),
            format!("{}end", "x".repeat(4093)),
        ),
    ] {
        write(&file, "")?;
        let ended = mounted(
            of_pod(node.run("term")),
            &file,
            "/dev/termination-log",
            "rbind:rw",
        )
        .shell(&script)
        .run()?;
        ensure!(ended.code == 3, "{ended:?}");
        let message = fs::read_to_string(&file).map_err(Error::io("Reading", &file))?;
        ensure!(message == expected, "Message of {script:?}: {message:?}");
    }
    Ok(())
}

/// An init container leaves a file to another container, which starts when it is gone.
fn empty_dir(node: &Node) -> Result<()> {
    let kubelet = Kubelet::on(node)?;
    let on_disk = kubelet.pod("volumes/kubernetes.io~empty-dir/scratch")?;
    let in_memory = kubelet.pod("volumes/kubernetes.io~empty-dir/memory")?;
    let _tmpfs = Mounted::on(&in_memory, "tmpfs", "size=4m,mode=0777")?;
    let huge = kubelet.pod("volumes/kubernetes.io~empty-dir/huge")?;
    let _hugetlbfs = Mounted::on(&huge, "hugetlbfs", "pagesize=2M")?;
    let part = Mounted::part(&kubelet, &on_disk, "scratch")?;
    let part_in_memory = Mounted::part(&kubelet, &in_memory, "memory")?;
    let pod = node.unique_id("pod");
    of_pod(node.ctr().run(&pod))
        .detached()
        .flag("--annotation")
        .flag("io.kubernetes.cri.container-type=sandbox")
        .command(&["sleep", "1000"])
        .succeed()?;
    let member = |name: &str, script: &str| -> Result<String> {
        let run = node
            .run(name)
            .flag("--annotation")
            .flag("io.kubernetes.cri.container-type=container")
            .flag("--annotation")
            .flag(&format!("io.kubernetes.cri.sandbox-id={pod}"));
        let run = mounted(run, &on_disk, "/scratch", "rbind:rw");
        let run = mounted(run, &in_memory, "/memory", "rbind:rw");
        let run = mounted(run, &part.0, "/part", "rbind:rw");
        let run = mounted(run, &part_in_memory.0, "/memory-part", "rbind:rw");
        mounted(run, &huge, "/huge", "rbind:rw")
            .shell(script)
            .succeed()
    };
    let first = "for d in scratch memory part memory-part; do echo from-init > /$d/f; done";
    let outcome = member("init", first).and_then(|_| {
        let seen = member(
            "main",
            "cat /scratch/f /memory/f && echo more >> /scratch/f",
        )?;
        ensure!(seen == "from-init\nfrom-init\n", "{seen:?}");
        let kinds = "cat /scratch/f; for d in memory huge; \
            do grep \" /$d \" /proc/mounts | cut -d' ' -f3; done; \
            head -c 5000000 /dev/zero > /memory/large || echo full";
        member("again", kinds)
    });
    node.ctr().remove(&pod)?;
    let seen = outcome?;
    ensure!(
        seen == "from-init\nmore\ntmpfs\nhugetlbfs\nfull\n",
        "{seen:?}"
    );
    drop(part);
    fs::remove_dir(on_disk.join("sub")).map_err(Error::io("Removing", &on_disk))?;
    let left = fs::read_dir(&on_disk)
        .map_err(Error::io("Listing", &on_disk))?
        .count();
    ensure!(left == 0, "{left} files of the guest are on the host");
    Ok(())
}

fn host_paths(node: &Node) -> Result<()> {
    let _kubelet = Kubelet::on(node)?;
    let home = own_directory(node)?;
    let tree = home.join("srv");
    create(&tree.join("d"))?;
    write(&tree.join("d/f"), "content")?;
    symlink("d/f", tree.join("l")).map_err(Error::io("Linking", &tree))?;
    let script = "cat /data/l; echo x > /data/new";
    let ended = mounted(node.run("host"), &tree, "/data", "rbind:rw")
        .shell(script)
        .run()?;
    ensure!(ended.stdout == "content", "{ended:?}");
    ensure!(
        ended.code != 0 && ended.stderr.contains("Read-only file system"),
        "{ended:?}"
    );

    let large = home.join("large");
    fs::write(&large, vec![1; 2 << 20]).map_err(Error::io("Writing", &large))?;
    let ended = mounted(node.run("large"), &large, "/large", "rbind:ro")
        .shell("true")
        .run()?;
    let words = "host_path_copy_limit_mib";
    ensure!(ended.code != 0 && ended.stderr.contains(words), "{ended:?}");

    let socket = home.join("some.sock");
    let _listener = UnixListener::bind(&socket).map_err(Error::io("Binding", &socket))?;
    let ended = mounted(node.run("sock"), &socket, "/some.sock", "rbind:rw")
        .shell("true")
        .run()?;
    ensure!(
        ended.code != 0 && ended.stderr.contains("a socket of the host"),
        "{ended:?}"
    );
    Ok(())
}

/// A directory for the files of one run of a case, which runs booted and restored.
fn own_directory(node: &Node) -> Result<PathBuf> {
    let home = node.directory().join(node.unique_id("home"));
    create(&home)?;
    Ok(home)
}

/// A raw volume, by bind mount (kubelet's path of it) and by number; and one that is mounted.
fn block_device(node: &Node) -> Result<()> {
    let kubelet = Kubelet::on(node)?;
    let home = own_directory(node)?;
    let disk = home.join("disk");
    fs::write(&disk, vec![b'h'; 1 << 20]).map_err(Error::io("Writing", &disk))?;
    let device = Loop::on(&disk)?;
    let published = kubelet.pod("volumeDevices/kubernetes.io~csi")?.join("pv");
    symlink(&device.0, &published).map_err(Error::io("Linking", &published))?;
    let link = home.join("link");
    symlink(&device.0, &link).map_err(Error::io("Linking", &link))?;
    for run in [
        mounted(of_pod(node.run("path")), &link, "/dev/data", "rbind:rw"),
        mounted(node.run("other"), &published, "/dev/data", "rbind:rw"),
    ] {
        let ended = run.shell("true").run()?;
        let words = "host_block_devices";
        ensure!(ended.code != 0 && ended.stderr.contains(words), "{ended:?}");
    }
    let script = "head -c 4 /dev/data && printf guest | dd of=/dev/data conv=fsync 2>/dev/null";
    let ended = mounted(of_pod(node.run("raw")), &published, "/dev/data", "rbind:rw")
        .shell(script)
        .run()?;
    ensure!(ended.code == 0 && ended.stdout == "hhhh", "{ended:?}");
    let read = || fs::read(&disk).map_err(Error::io("Reading", &disk));
    ensure!(
        read()?.starts_with(b"guesth"),
        "Nothing was written to the disk"
    );

    let flags = |name: &str| node.run(name).flag("--device").flag(&device.0);
    let script = format!("head -c 5 {}", device.0);
    let ended = flags("number").shell(&script).run()?;
    ensure!(ended.code == 0 && ended.stdout == "guest", "{ended:?}");

    Program::new("mkfs.ext4")
        .args(["-q", "-F", &device.0])
        .succeed()?;
    let point = node.directory().join("point");
    create(&point)?;
    mount(
        Some(device.0.as_str()),
        &point,
        Some("ext4"),
        MsFlags::empty(),
        None::<&str>,
    )
    .map_err(|errno| Error::io("Mounting", &point)(errno.into()))?;
    write(&point.join("from-host"), "h")?;
    let ended = flags("used").shell("true").run();
    umount(&point).map_err(|errno| Error::io("Unmounting", &point)(errno.into()))?;
    let ended = ended?;
    ensure!(
        ended.code != 0 && ended.stderr.contains("the host uses the device"),
        "{ended:?}"
    );

    let flag = format!("type=ext4,src={},dst=/data,options=noatime", device.0);
    let script = "cat /data/from-host; grep -o ' /data ext4 rw,noatime' /proc/mounts; \
        echo from-guest > /data/f";
    let ended = node
        .run("fs")
        .flag("--mount")
        .flag(&flag)
        .shell(script)
        .run()?;
    ensure!(
        ended.code == 0 && ended.stdout == "h /data ext4 rw,noatime\n",
        "{ended:?}"
    );
    mount(
        Some(device.0.as_str()),
        &point,
        Some("ext4"),
        MsFlags::empty(),
        None::<&str>,
    )
    .map_err(|errno| Error::io("Mounting", &point)(errno.into()))?;
    let left = fs::read_to_string(point.join("f"));
    umount(&point).map_err(|errno| Error::io("Unmounting", &point)(errno.into()))?;
    let left = left.map_err(Error::io("Reading", &point))?;
    ensure!(left == "from-guest\n", "{left:?}");
    Ok(())
}

//! Where mounts go and what they are: links on the way, shared memory, propagation, parts of
//! volumes.

use std::{
    fs,
    path::{Path, PathBuf},
};

use e2e_tests::harness::Case;
use nix::mount::{MsFlags, mount as mount_host, umount};
use playground::{
    Error, Result,
    cri::{Kubelet, LINKED, Pod, api},
    ensure,
    node::Node,
};
use protobuf::MessageField;

use crate::pods::{SERVICE, mount, same};

pub fn cases() -> Vec<Case> {
    vec![
        Case::new("mounts::links_to_what_the_image_lacks", links),
        Case::new("mounts::shared_memory_is_what_the_pod_asks_for", shm),
        Case::new("mounts::mounts_propagate_between_containers", propagation),
        Case::new("mounts::below_a_read_only_mount", read_only),
        Case::new("mounts::parts_of_an_empty_dir", parts),
        Case::new("mounts::a_refusal_names_the_mount", refusals),
    ]
}

/// A mount of the host. Dropped, it is gone.
struct Mounted(PathBuf);

impl Mounted {
    fn tmpfs(path: &Path, options: &str) -> Result<Self> {
        fs::create_dir_all(path).map_err(Error::io("Making", path))?;
        let kind = Some("tmpfs");
        mount_host(kind, path, kind, MsFlags::empty(), Some(options))
            .map_err(|errno| Error::io("Mounting", path)(errno.into()))?;
        Ok(Self(path.to_owned()))
    }

    /// A part of a volume as kubelet binds it for a container: what the host has, else a directory.
    fn part(pod: &Pod<'_>, volume: &Path, part: &str, container: &str) -> Result<Self> {
        let source = volume.join(part);
        let name = volume.file_name().unwrap_or_default();
        let directory = pod.directory().join("volume-subpaths").join(name);
        let target = directory.join(container).join("0");
        if !source.exists() {
            fs::create_dir_all(&source).map_err(Error::io("Making", &source))?;
        }
        let parent = directory.join(container);
        if source.is_dir() {
            fs::create_dir_all(&target).map_err(Error::io("Making", &target))?;
        } else {
            fs::create_dir_all(&parent).map_err(Error::io("Making", &parent))?;
            fs::write(&target, "").map_err(Error::io("Making", &target))?;
        }
        let none = None::<&str>;
        mount_host(Some(&source), &target, none, MsFlags::MS_BIND, none)
            .map_err(|errno| Error::io("Binding", &target)(errno.into()))?;
        Ok(Self(target))
    }
}

impl Drop for Mounted {
    fn drop(&mut self) {
        let _ = umount(&self.0);
    }
}

fn of_image(config: &mut api::ContainerConfig, image: &str) {
    image.clone_into(&mut config.image.mut_or_insert_default().image);
}

fn links(node: &Node) -> Result<()> {
    let kubelet = Kubelet::new(node);
    let pod = kubelet.run("links")?;
    let volume = |name: &str| pod.volume("kubernetes.io~empty-dir", name);
    let (under, over, other) = (volume("under")?, volume("over")?, volume("other")?);
    let hosts = pod.directory().join("etc-hosts");
    fs::write(&hosts, "10.1.2.3 of-kubelet\n").map_err(Error::io("Writing", &hosts))?;
    let container = pod.start_with("links", SERVICE, |config| {
        of_image(config, LINKED);
        config.mounts = vec![
            mount(&under, "/data"),
            mount(&over, "/var/lib/absent"),
            mount(&other, "/first"),
            mount(&other, "/up"),
            mount(&other, "/parent/of/all"),
            mount(&hosts, "/etc/hosts"),
        ];
    })?;
    container.logged("up")?;
    let script = "echo x > /data/f && ls /var/lib/absent && readlink /data && \
        echo y > /var/lib/third/deep/f && cat /first/f /srv/up/f /var/lib/parent/of/all/f && \
        cat /etc/alt/hosts && test -s /run/systemd/resolve/stub-resolv.conf && \
        readlink /etc/resolv.conf; \
        grep -c ' /var/lib/absent ' /proc/mounts";
    same(
        "What is where",
        &container.shell(script)?,
        "f\n/var/lib/absent\ny\ny\ny\n\
         10.1.2.3 of-kubelet\n../run/systemd/resolve/stub-resolv.conf\n2",
    )?;
    // Whose turn is second lies over the other.
    let both = pod.start_with("both", "ls /under; echo -; ls /over", |config| {
        config.mounts = vec![mount(&under, "/under"), mount(&over, "/over")];
    })?;
    both.ended()?;
    both.logged("f")?;
    let log: Vec<_> = both.log().into_iter().map(|(_, line)| line).collect();
    ensure!(log == ["-", "f"], "{log:?}");
    pod.remove()
}

fn shm(node: &Node) -> Result<()> {
    let kubelet = Kubelet::new(node);
    let pod = kubelet.run("shm")?;
    let memory = pod.volume("kubernetes.io~empty-dir", "memory")?;
    let _tmpfs = Mounted::tmpfs(&memory, "size=128m,mode=1777")?;
    let own = |config: &mut api::ContainerConfig| config.mounts.push(mount(&memory, "/dev/shm"));
    let one = pod.start_with("one", SERVICE, own)?;
    let two = pod.start_with("two", SERVICE, own)?;
    let three = pod.start("three", SERVICE)?;
    let four = pod.start("four", SERVICE)?;
    let size = "df -k /dev/shm | tail -n 1 | awk '{ print $2 }'";
    same("Its size", &one.shell(size)?, "131072")?;
    one.shell("echo shared > /dev/shm/of-the-volume")?;
    same(
        "What the second container sees",
        &two.shell("cat /dev/shm/of-the-volume")?,
        "shared",
    )?;
    // The others share the pod's.
    same("The pod's size", &three.shell(size)?, "65536")?;
    three.shell("echo pod > /dev/shm/of-the-pod")?;
    same(
        "What the fourth container sees",
        &four.shell("ls /dev/shm")?,
        "of-the-pod",
    )?;
    pod.remove()
}

fn propagation(node: &Node) -> Result<()> {
    let kubelet = Kubelet::new(node);
    let pod = kubelet.run("propagation")?;
    let disk = pod.volume("kubernetes.io~empty-dir", "disk")?;
    let memory = pod.volume("kubernetes.io~empty-dir", "memory")?;
    let _tmpfs = Mounted::tmpfs(&memory, "size=16m,mode=1777")?;
    let map = pod.volume("kubernetes.io~configmap", "map")?;
    let host = pod.directory().join("host");
    fs::create_dir(&host).map_err(Error::io("Making", &host))?;
    let start = |name: &str, propagation: i32| {
        pod.start_with(name, SERVICE, |config| {
            for (source, target) in [
                (&disk, "/disk"),
                (&memory, "/memory"),
                (&map, "/map"),
                (&host, "/host"),
            ] {
                let mut mount = mount(source, target);
                mount.propagation = propagation;
                config.mounts.push(mount);
            }
            let linux = config.linux.mut_or_insert_default();
            let context = linux.security_context.mut_or_insert_default();
            let mut capabilities = api::Capability::new();
            capabilities.add_capabilities = vec!["SYS_ADMIN".to_owned()];
            context.capabilities = MessageField::some(capabilities);
        })
    };
    let slave = start("slave", 1)?;
    let private = start("private", 0)?;
    let shared = start("shared", 2)?;
    let peer = start("peer", 2)?;
    let mounts = "mkdir -p /disk/m /memory/m && mount -t tmpfs of-shared /disk/m && \
        mount -t tmpfs of-shared /memory/m && \
        echo x > /disk/m/f && echo x > /memory/m/f";
    shared.shell(mounts)?;
    let look = "cat /disk/m/f /memory/m/f 2> /dev/null; grep -c of-shared /proc/mounts; true";
    same("The slave", &slave.shell(look)?, "x\nx\n2")?;
    same("The peer", &peer.shell(look)?, "x\nx\n2")?;
    same("The private one", &private.shell(look)?, "0")?;
    // What a slave mounts stays with it.
    slave.shell("mkdir /disk/s && mount -t tmpfs of-slave /disk/s && echo x > /disk/s/f")?;
    same("The others", &shared.shell("ls /disk/s")?, "")?;
    // A peer's unmounting reaches the others.
    peer.shell("umount /disk/m /memory/m")?;
    let gone = "grep -c of-shared /proc/mounts; true";
    same("The slave", &slave.shell(gone)?, "0")?;
    same("The one that mounted", &shared.shell(gone)?, "0")?;
    pod.remove()
}

fn read_only(node: &Node) -> Result<()> {
    let kubelet = Kubelet::new(node);
    let pod = kubelet.run("read-only")?;
    let host = pod.directory().join("host");
    let _tmpfs = Mounted::tmpfs(&host.join("inner"), "size=1m,mode=1777")?;
    let disk = pod.volume("kubernetes.io~empty-dir", "disk")?;
    let memory = pod.volume("kubernetes.io~empty-dir", "memory")?;
    let _memory = Mounted::tmpfs(&memory, "size=1m,mode=1777")?;
    // kubelet makes the places of mounts within its volumes.
    let place = disk.join("inner");
    fs::create_dir(&place).map_err(Error::io("Making", &place))?;
    let container = pod.start_with("read-only", SERVICE, |config| {
        let mut outer = mount(&host, "/host");
        outer.readonly = true;
        let mut volume = mount(&disk, "/disk");
        volume.readonly = true;
        config.mounts = vec![outer, volume, mount(&memory, "/disk/inner")];
    })?;
    container.logged("up")?;
    let try_all = "for d in /host /disk /host/inner /disk/inner; do \
        touch $d/f 2> /dev/null && echo \"$d written\" || echo \"$d read-only\"; done";
    same(
        "What can be written to",
        &container.shell(try_all)?,
        "/host read-only\n/disk read-only\n/host/inner written\n/disk/inner written",
    )?;
    pod.remove()
}

fn parts(node: &Node) -> Result<()> {
    let kubelet = Kubelet::new(node);
    let pod = kubelet.run("parts")?;
    let disk = pod.volume("kubernetes.io~empty-dir", "disk")?;
    let memory = pod.volume("kubernetes.io~empty-dir", "memory")?;
    let _tmpfs = Mounted::tmpfs(&memory, "size=16m,mode=1777")?;
    let init = "echo disk > /disk/app.conf; echo memory > /memory/app.conf; \
        mkdir -m 700 /disk/dir; echo x > /disk/dir/f";
    let init = pod.start_with("init", init, |config| {
        config.mounts = vec![mount(&disk, "/disk"), mount(&memory, "/memory")];
    })?;
    let ended = init.ended()?;
    ensure!(ended.exit_code == 0, "{ended} {:?}", init.log());
    let part = |volume: &Path, part: &str, number: &str| Mounted::part(&pod, volume, part, number);
    let bound = [
        (part(&disk, "app.conf", "a")?, "/etc/disk.conf"),
        (part(&memory, "app.conf", "a")?, "/etc/memory.conf"),
        (part(&disk, "dir", "b")?, "/dir"),
        (part(&disk, "new/of/disk", "c")?, "/new/disk"),
        (part(&memory, "new", "b")?, "/new/memory"),
    ];
    let main = pod.start_with("main", SERVICE, |config| {
        config.mounts = bound.iter().map(|(part, to)| mount(&part.0, to)).collect();
        config.mounts.push(mount(&disk, "/disk"));
    })?;
    main.logged("up")?;
    let script = "cat /etc/disk.conf /etc/memory.conf /dir/f; stat -c %a /dir; \
        ls /new/disk /new/memory; \
        echo y > /new/disk/f; cat /disk/new/of/disk/f; echo changed > /etc/disk.conf; \
        cat /disk/app.conf";
    same(
        "The parts",
        &main.shell(script)?,
        "disk\nmemory\nx\n700\n/new/disk:\n\n/new/memory:\ny\nchanged",
    )?;
    pod.remove()
}

fn refusals(node: &Node) -> Result<()> {
    let kubelet = Kubelet::new(node);
    if !kubelet.is_imprint() {
        return Ok(());
    }
    let pod = kubelet.run("refusals")?;
    let disk = pod.volume("kubernetes.io~empty-dir", "disk")?;
    for (name, destination, reason) in [
        ("over-a-file", "/etc/passwd", "Not a directory"),
        ("below-a-file", "/etc/passwd/below", "Not a directory"),
        ("inside-proc", "/proc/sys", "inside /proc"),
    ] {
        let refused = pod
            .start_with(name, "true", |config| {
                config.mounts.push(mount(&disk, destination));
            })
            .err();
        let text = refused.map_or_else(String::new, |error| error.to_string());
        ensure!(
            text.contains(destination) && text.contains(reason) && !text.contains("rootfs:"),
            "{destination}: {text:?}"
        );
    }
    pod.remove()
}

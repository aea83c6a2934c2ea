//! Every kind of bind mount and what becomes of it.

use std::path::Path;

use config::{HostPathPolicy, VolumeSettings};

use super::settings;
use crate::{
    classify::{BindRequest, Way, classify},
    direct::DirectVolume,
    owner::Owner,
    source::{Facts, FileSystem, Kind},
};

const POD: &str = "/var/lib/kubelet/pods/6c8f";
/// Where containerd has the files of the pod's sandbox.
const SANDBOX: &str = "/var/lib/containerd/io.containerd.grpc.v1.cri/sandboxes/5a9d";

fn facts(kind: Kind, file_system: FileSystem) -> Facts {
    Facts {
        kind,
        file_system,
        versioned: false,
        mode: 0o755,
        uid: 0,
        gid: 0,
    }
}

struct Row {
    source: String,
    /// Where it leads, if that is elsewhere.
    real: Option<&'static str>,
    destination: &'static str,
    read_only: bool,
    part_of: Option<&'static str>,
    fs_type: Option<&'static str>,
    kind: Kind,
    file_system: FileSystem,
}

fn row(source: impl Into<String>, kind: Kind) -> Row {
    Row {
        source: source.into(),
        real: None,
        destination: "/data",
        read_only: false,
        part_of: None,
        fs_type: None,
        kind,
        file_system: FileSystem::Other,
    }
}

impl Row {
    fn decide(&self, settings: &VolumeSettings) -> Result<Way, String> {
        self.decide_for(Some("6c8f"), settings)
    }

    fn decide_for(&self, uid: Option<&str>, settings: &VolumeSettings) -> Result<Way, String> {
        let owner = Owner {
            uid: uid.map(str::to_owned),
            pods: "/var/lib/kubelet/pods".into(),
            ids: ["5a9d".into(), "c0c0".into()],
        };
        let asked = BindRequest {
            source: Path::new(&self.source),
            real: Path::new(self.real.unwrap_or(&self.source)),
            owner: &owner,
            destination: Path::new(self.destination),
            read_only: self.read_only,
            part_of: self.part_of,
            options: &[],
            fs_type: self.fs_type,
            direct: None,
        };
        classify(&asked, &facts(self.kind, self.file_system), settings)
    }
}

fn kubelet(path: &str, kind: Kind) -> Row {
    row(format!("{POD}/{path}"), kind)
}

const DIR: Kind = Kind::Directory;
const FILE: Kind = Kind::File;

#[test]
fn each_source_has_its_way() {
    let cache = || "cache".to_owned();
    let snapshot = |wanted_to_write| Way::Snapshot { wanted_to_write };
    let huge = 2 << 20;
    let table = [
        (
            kubelet("volumes/kubernetes.io~configmap/config", DIR),
            Way::Config,
        ),
        (
            kubelet("volumes/kubernetes.io~secret/key", DIR),
            Way::Config,
        ),
        (
            kubelet("volumes/kubernetes.io~projected/kube-api-access-x", DIR),
            Way::Config,
        ),
        (
            kubelet("volumes/kubernetes.io~downward-api/info", DIR),
            Way::Config,
        ),
        (
            kubelet("volumes/kubernetes.io~empty-dir/cache", DIR),
            Way::Scratch { name: cache() },
        ),
        (
            Row {
                file_system: FileSystem::Tmpfs(1 << 20),
                ..kubelet("volumes/kubernetes.io~empty-dir/cache", DIR)
            },
            Way::Memory {
                name: cache(),
                bytes: Some(1 << 20),
            },
        ),
        (
            Row {
                file_system: FileSystem::Tmpfs(0),
                ..kubelet("volumes/kubernetes.io~empty-dir/cache", DIR)
            },
            Way::Memory {
                name: cache(),
                bytes: None,
            },
        ),
        (
            Row {
                file_system: FileSystem::Hugetlbfs(huge),
                ..kubelet("volumes/kubernetes.io~empty-dir/cache", DIR)
            },
            Way::HugePages {
                name: cache(),
                page_bytes: huge,
            },
        ),
        (
            Row {
                part_of: Some("kubernetes.io~empty-dir"),
                ..kubelet("volume-subpaths/cache/main/0", DIR)
            },
            Way::PartOfEmptyDir { name: cache() },
        ),
        (
            Row {
                part_of: Some("kubernetes.io~empty-dir"),
                ..kubelet("volume-subpaths/cache/main/0", FILE)
            },
            Way::PartOfEmptyDir { name: cache() },
        ),
        (
            Row {
                part_of: Some("kubernetes.io~configmap"),
                ..kubelet("volume-subpaths/config/main/0", FILE)
            },
            snapshot(false),
        ),
        (
            kubelet("containers/main/3f1c02ab", FILE),
            Way::TerminationLog,
        ),
        (kubelet("etc-hosts", FILE), Way::PodFile),
        (
            Row {
                destination: "/etc/hosts",
                ..row("/var/lib/nerdctl/1/etchosts/default/c0c0/hosts", FILE)
            },
            Way::PodFile,
        ),
        (
            Row {
                destination: "/etc/hostname",
                ..row(format!("{SANDBOX}/hostname"), FILE)
            },
            Way::PodFile,
        ),
        (
            Row {
                destination: "/etc/resolv.conf",
                ..row(format!("{SANDBOX}/resolv.conf"), FILE)
            },
            Way::PodFile,
        ),
        (
            Row {
                read_only: true,
                ..kubelet("volumes/kubernetes.io~csi/pv-1/mount", DIR)
            },
            snapshot(false),
        ),
        (
            kubelet("volumes/kubernetes.io~csi/pv-1/dev", Kind::Block(7)),
            Way::RawDisk,
        ),
        (
            Row {
                real: Some("/dev/sdb"),
                ..kubelet("volumeDevices/kubernetes.io~csi/pv-1", Kind::Block(7))
            },
            Way::RawDisk,
        ),
        (
            Row {
                fs_type: Some("ext4"),
                ..row("/srv/disk", Kind::Block(7))
            },
            Way::FileSystem(DirectVolume {
                device: "/srv/disk".into(),
                fs_type: "ext4".into(),
                options: vec![],
                group: None,
            }),
        ),
        (row("/srv/data", DIR), snapshot(true)),
        (
            Row {
                read_only: true,
                ..row("/srv/data/file", FILE)
            },
            snapshot(false),
        ),
        (
            Row {
                destination: "/etc/hosts",
                ..row("/srv/data", DIR)
            },
            snapshot(true),
        ),
        (
            row(
                format!("{POD}x/../../volumes/kubernetes.io~secret/key"),
                DIR,
            ),
            snapshot(true),
        ),
        (
            row("/elsewhere/pods/6c8f/volumes/kubernetes.io~secret/key", DIR),
            snapshot(true),
        ),
    ];
    for (row, way) in table {
        assert_eq!(row.decide(&settings()), Ok(way), "{}", row.source);
    }
}

#[test]
fn what_would_be_silently_wrong_is_refused() {
    let table = [
        (
            Row {
                fs_type: Some("ext4"),
                ..row("/srv/disk", FILE)
            },
            "on a block device",
        ),
        (row("/srv/disk", Kind::Block(7)), "host_block_devices"),
        (
            row("/run/some.sock", Kind::Special("a socket")),
            "a socket of the host",
        ),
        (
            row("/dev/fuse", Kind::Special("a character device")),
            "a character device of the host",
        ),
        (
            kubelet("volumes/kubernetes.io~csi/pv-1/mount", DIR),
            "would be lost",
        ),
        (
            kubelet("volumes/kubernetes.io~nfs/share", DIR),
            "would be lost",
        ),
        (
            Row {
                part_of: Some("kubernetes.io~csi"),
                ..kubelet("volume-subpaths/data/main/0", DIR)
            },
            "would be lost",
        ),
    ];
    for (row, words) in table {
        let reason = row.decide(&settings()).unwrap_err();
        assert!(reason.contains(words), "{}: {reason}", row.source);
    }
}

#[test]
fn paths_of_the_host_can_be_refused_altogether() {
    let strict = VolumeSettings {
        host_path: HostPathPolicy::Refuse,
        ..settings()
    };
    let reason = row("/srv/data", DIR).decide(&strict).unwrap_err();
    assert!(reason.contains("host_path_volumes"), "{reason}");
    let config = kubelet("volumes/kubernetes.io~configmap/config", DIR);
    assert_eq!(config.decide(&strict), Ok(Way::Config));
    let hosts = Row {
        destination: "/etc/hosts",
        ..row("/var/lib/nerdctl/1/etchosts/default/c0c0/hosts", FILE)
    };
    assert_eq!(hosts.decide(&strict), Ok(Way::PodFile));
}

/// Each with what a pod may hope for at most: a read-only copy of a path of the host, or nothing.
#[test]
fn what_is_not_proven_to_be_the_pods_own_is_the_hosts() {
    let other = |path: &str, kind| row(format!("/var/lib/kubelet/pods/0bad/{path}"), kind);
    let at = |destination, row| Row { destination, ..row };
    let led = |real, row| Row {
        real: Some(real),
        ..row
    };
    let files = [
        row("/etc/shadow", FILE),
        at("/etc/resolv.conf", row("/etc/shadow", FILE)),
        at("/etc/hosts", row("/etc/kubernetes/admin.conf", FILE)),
        at("/etc/hostname", row("/etc/hostname", FILE)),
        // Another sandbox's; one of another name in the pod's own; a link in it; a file called so.
        at(
            "/etc/hosts",
            row("/var/lib/containerd/x/sandboxes/0bad/hosts", FILE),
        ),
        at("/etc/hosts", row(format!("{SANDBOX}/config"), FILE)),
        at(
            "/etc/hosts",
            led("/etc/shadow", row(format!("{SANDBOX}/hosts"), FILE)),
        ),
        at("/etc/hosts", row("/srv/5a9d", FILE)),
        at("/etc/hosts", other("etc-hosts", FILE)),
        other("volumes/kubernetes.io~secret/token", DIR),
        other("volumes/kubernetes.io~projected/kube-api-access-x", DIR),
        other("volumes/kubernetes.io~empty-dir/cache", DIR),
        other("volume-subpaths/config/main/0", FILE),
        // Found in none of the pod's volumes.
        kubelet("volume-subpaths/config/main/0", FILE),
        other("containers/c/1234", FILE),
        // What a link in a volume of the pod's own leads to.
        led(
            "/etc",
            kubelet("volumes/kubernetes.io~csi/pv/mount/link", DIR),
        ),
        led("/etc/shadow", kubelet("containers/main/3f1c02ab", FILE)),
        led(
            "/var/lib/kubelet/pods/0bad/volumes/kubernetes.io~secret/token",
            kubelet("volumes/kubernetes.io~secret/token", DIR),
        ),
        row("/var/lib/kubelet/pods", DIR),
        row("/var/lib/kubelet", DIR),
    ];
    let devices = [
        row("/dev/sda", Kind::Block(7)),
        row(
            "/var/lib/kubelet/plugins/kubernetes.io/csi/volumeDevices/PV/dev/UID",
            Kind::Block(7),
        ),
        other("volumeDevices/kubernetes.io~csi/pv", Kind::Block(7)),
        other("volumes/kubernetes.io~csi/pv/dev", Kind::Block(7)),
        led(
            "/dev/sda",
            kubelet("volumes/kubernetes.io~csi/pv/mount/link", Kind::Block(7)),
        ),
        kubelet("volumeDevices/kubernetes.io~csi/pv/below", Kind::Block(7)),
    ];
    let copy = settings();
    let refuse = VolumeSettings {
        host_path: HostPathPolicy::Refuse,
        ..settings()
    };
    for row in &files {
        let reason = row.decide(&refuse).unwrap_err();
        assert!(
            reason.contains("host_path_volumes"),
            "{}: {reason}",
            row.source
        );
        let way = row.decide(&copy).unwrap();
        assert!(
            matches!(way, Way::Snapshot { .. }),
            "{}: {way:?}",
            row.source
        );
    }
    for (row, settings) in devices
        .iter()
        .flat_map(|row| [(row, &copy), (row, &refuse)])
    {
        let reason = row.decide(settings).unwrap_err();
        assert!(
            reason.contains("host_block_devices"),
            "{}: {reason}",
            row.source
        );
    }
    // Without a uid no directory of kubelet's is the pod's.
    let secret = kubelet("volumes/kubernetes.io~secret/token", DIR);
    assert!(secret.decide_for(None, &refuse).is_err());
    let allowed = VolumeSettings {
        host_block_devices: true,
        ..refuse
    };
    assert_eq!(devices[0].decide(&allowed), Ok(Way::RawDisk));
}

/// Nor is a disk that a driver has left for another pod.
#[test]
fn a_disk_that_was_left_for_another_pod_is_not_attached() {
    let direct = DirectVolume {
        device: "/dev/sdf".into(),
        fs_type: "ext4".into(),
        options: vec![],
        group: None,
    };
    let way = |pod: &str| {
        let source = format!("/var/lib/kubelet/pods/{pod}/volumes/kubernetes.io~csi/pv/mount");
        let owner = Owner {
            uid: Some("6c8f".into()),
            pods: "/var/lib/kubelet/pods".into(),
            ids: Default::default(),
        };
        let asked = BindRequest {
            source: Path::new(&source),
            real: Path::new(&source),
            owner: &owner,
            destination: Path::new("/data"),
            read_only: false,
            part_of: None,
            options: &[],
            fs_type: None,
            direct: Some(&direct),
        };
        classify(&asked, &facts(DIR, FileSystem::Other), &settings())
    };
    assert_eq!(way("6c8f"), Ok(Way::FileSystem(direct.clone())));
    assert!(way("0bad").unwrap_err().contains("host_block_devices"));
}

//! Every kind of bind mount and what becomes of it.

use std::path::Path;

use super::settings;
use crate::volumes::{
    HostPathPolicy, VolumeSettings,
    classify::{Asked, Way, classify},
    direct::DirectVolume,
    look::{Facts, FileSystem, Kind},
};

const POD: &str = "/var/lib/kubelet/pods/6c8f";

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
        let asked = Asked {
            source: Path::new(&self.source),
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
                ..row("/var/lib/x/hosts", FILE)
            },
            Way::PodFile,
        ),
        (
            Row {
                destination: "/etc/hostname",
                ..row("/var/lib/x/h", FILE)
            },
            Way::PodFile,
        ),
        (
            Row {
                destination: "/etc/resolv.conf",
                ..row("/run/r.conf", FILE)
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
        (row("/srv/disk", Kind::Block(7)), Way::RawDisk),
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
            kubelet("volume-subpaths/data/main/0", DIR),
            "does not say which volume",
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
        ..row("/var/lib/x/hosts", FILE)
    };
    assert_eq!(hosts.decide(&strict), Ok(Way::PodFile));
}

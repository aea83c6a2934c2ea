//! A host's specification in, the guest's out.

mod refusals;

use std::{collections::HashMap, path::Path};

use agent_client::oci as wire;
use protobuf::text_format;

use super::*;

const OPTIONS: SpecOptions = SpecOptions {
    guest_seccomp: true,
};

fn bundle(json: &str) -> Bundle {
    Bundle {
        path: "/run/bundle".into(),
        spec: serde_json::from_str(json).unwrap(),
    }
}

fn golden() -> Bundle {
    bundle(include_str!("config.json"))
}

fn guest(bundle: &Bundle, options: SpecOptions) -> Result<GuestSpec, OciError> {
    guest_spec(
        bundle,
        "test",
        &ContainerKind::SingleContainer,
        "/guest/rootfs",
        options,
    )
}

/// Says that every bind mount was copied to the path meant for it.
fn provided(mut spec: GuestSpec) -> wire::Spec {
    for bind in spec.host_binds().to_vec() {
        spec.provide(&bind, &bind.guest_path);
    }
    spec.finish().unwrap()
}

/// `IMPRINT_BLESS=1` writes what is instead of comparing it.
fn compare(name: &str, got: &str) {
    let path = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("src/tests")
        .join(name);
    if std::env::var_os("IMPRINT_BLESS").is_some() {
        std::fs::write(&path, got).unwrap();
    }
    assert_eq!(got, std::fs::read_to_string(&path).unwrap());
}

#[test]
fn the_guest_gets_what_it_should() {
    let spec = guest(&golden(), OPTIONS).unwrap();
    assert!(spec.sandbox_pidns());
    assert_eq!(
        spec.left_out(),
        ["process.ioPriority", "blockIO", "unified", "hooks"]
    );
    let mut spec = provided(spec);
    let wanted = [
        ("kept", "yes"),
        ("io.katacontainers.pkg.oci.bundle_path", "/run/bundle"),
        (
            "io.katacontainers.pkg.oci.container_type",
            "single_container",
        ),
    ];
    let wanted = wanted.map(|(name, value)| (name.to_owned(), value.to_owned()));
    // The order of a map is not fixed.
    assert_eq!(std::mem::take(&mut spec.Annotations), HashMap::from(wanted));
    compare("guest.txt", &text_format::print_to_string_pretty(&spec));
}

#[test]
fn binds_of_host_files_are_told_apart_and_never_lost() {
    let spec = guest(&golden(), OPTIONS).unwrap();
    let binds: Vec<_> = spec
        .host_binds()
        .iter()
        .map(|b| (text(&b.source), b.read_only()))
        .collect();
    assert_eq!(
        binds,
        [
            ("/run/containerd/sandbox/resolv.conf", true),
            ("/var/lib/data", false),
            ("/dev/../etc", false)
        ]
    );
    let paths: Vec<_> = spec
        .host_binds()
        .iter()
        .map(|bind| bind.guest_path.as_str())
        .collect();
    for (path, name) in paths.iter().zip(["resolv.conf", "data", "tricky"]) {
        let digits = path.strip_prefix(&format!("{GUEST_SHARED}/test-")).unwrap();
        let digits = digits.strip_suffix(&format!("-{name}")).unwrap();
        assert!(
            digits.len() == 16 && digits.bytes().all(|c| c.is_ascii_hexdigit()),
            "{path}"
        );
    }
    let mut partly = spec.clone();
    partly.provide(&spec.host_binds()[1], "/elsewhere");
    partly.provide(&spec.host_binds()[1], "/a second time");
    let error = partly.finish().unwrap_err().to_string();
    assert!(error.contains("/etc/resolv.conf, /tricky"), "{error}");
    let spec = provided(spec);
    let data = spec
        .Mounts
        .iter()
        .find(|mount| mount.destination == "/data")
        .unwrap();
    assert!(data.source.ends_with("-data"), "{data}");
}

#[test]
fn what_is_mounted_inside_a_bind_comes_right_after_it() {
    let mut spec = guest(&golden(), OPTIONS).unwrap();
    let bind = spec.host_binds()[1].clone();
    for inner in ["inner", "inner/deep"] {
        let copy = format!("/copy/{inner}");
        spec.provide_inner(&bind, inner, &copy).unwrap();
    }
    let spec = provided(spec);
    let mut mounts = spec.Mounts.iter();
    mounts.find(|mount| mount.destination == "/data").unwrap();
    for expected in ["inner", "inner/deep"] {
        let inner = mounts.next().unwrap();
        assert_eq!(inner.destination, format!("/data/{expected}"));
        assert_eq!(inner.source, format!("/copy/{expected}"));
        assert!(inner.options.contains(&"rw".to_owned()));
    }
    let tricky = mounts.find(|mount| mount.destination == "/tricky").unwrap();
    assert!(tricky.source.ends_with("-tricky"), "{tricky}");
}

fn text(path: &Path) -> &str {
    path.to_str().unwrap()
}

#[test]
fn options_change_what_they_name() {
    let none = SpecOptions {
        guest_seccomp: false,
    };
    let spec = guest(&golden(), none).unwrap();
    assert!(spec.left_out().contains(&"linux.seccomp"));
    let spec = provided(spec);
    assert!(spec.Linux.Seccomp.is_none());
}

#[test]
fn the_kind_comes_from_annotations_in_their_order() {
    let kind = |annotations: &str| {
        ContainerKind::from_spec(&bundle(&format!(r#"{{"annotations":{annotations}}}"#)).spec)
    };
    let pod = |id: &str| ContainerKind::PodContainer {
        sandbox_id: id.to_owned(),
    };
    assert_eq!(kind("{}").unwrap(), ContainerKind::SingleContainer);
    for (kind_of, id, sandbox) in [
        (
            "io.kubernetes.cri.container-type",
            "io.kubernetes.cri.sandbox-id",
            "sandbox",
        ),
        (
            "io.kubernetes.cri-o.ContainerType",
            "io.kubernetes.cri-o.SandboxID",
            "sandbox",
        ),
        (
            "io.kubernetes.docker.type",
            "io.kubernetes.sandbox.id",
            "podsandbox",
        ),
    ] {
        let of_sandbox = kind(&format!(r#"{{"{kind_of}":"{sandbox}"}}"#)).unwrap();
        assert_eq!(of_sandbox, ContainerKind::PodSandbox);
        assert_eq!(of_sandbox.sandbox_id("me"), "me");
        let of_member = kind(&format!(r#"{{"{kind_of}":"container","{id}":"s1"}}"#)).unwrap();
        assert_eq!(of_member, pod("s1"));
        assert_eq!(of_member.sandbox_id("me"), "s1");
        for wrong in [
            format!(r#"{{"{kind_of}":"other"}}"#),
            format!(r#"{{"{kind_of}":"container"}}"#),
            format!(r#"{{"{kind_of}":"container","{id}":"../s1"}}"#),
        ] {
            kind(&wrong).unwrap_err();
        }
    }
    let both = r#"{"io.kubernetes.cri.container-type":"container",
        "io.kubernetes.cri.sandbox-id":"a", "io.kubernetes.docker.type":"podsandbox"}"#;
    assert_eq!(kind(both).unwrap(), pod("a"));
}

#[test]
fn an_exec_gets_its_whole_process() {
    let json = br#"{"args":["id"],"cwd":"/","user":{"uid":7,"gid":8},"noNewPrivileges":true,
        "capabilities":{"ambient":["CAP_NET_RAW"]}}"#;
    let url = "types.containerd.io/opencontainers/runtime-spec/1/Process";
    let process = exec_process(url, json).unwrap();
    assert_eq!(process.Args, ["id"]);
    assert_eq!((process.User.UID, process.User.GID), (7, 8));
    assert_eq!(process.Capabilities.Ambient, ["CAP_NET_RAW"]);
    assert!(process.NoNewPrivileges && !process.Terminal);
}

#[test]
fn an_update_gets_what_a_guest_has() {
    let json = br#"{"memory":{"limit":7},"cpu":{"quota":-1,"cpus":"0"},"pids":{"limit":3}}"#;
    let url = "types.containerd.io/opencontainers/runtime-spec/1/LinuxResources";
    let resources = guest_limits(&update_resources(url, json).unwrap());
    assert_eq!(resources.Memory.Limit, 7);
    assert_eq!((resources.CPU.Quota, resources.CPU.Cpus.as_str()), (-1, ""));
    assert_eq!(resources.Pids.Limit, 3);
    assert!(resources.BlockIO.is_none() && resources.Devices.is_empty());
    let unlimited = guest_limits(&update_resources(url, br#"{"pids":{"limit":-1}}"#).unwrap());
    assert_eq!(unlimited.Pids.Limit, -1);
    let untouched = guest_limits(&update_resources(url, b"{}").unwrap());
    assert!(untouched.Pids.is_none());
}

#[test]
fn a_read_only_disk_gets_an_overlay_in_the_guests_memory() {
    let disk = RootfsDisk {
        fs_type: "erofs".to_owned(),
        options: vec!["ro".to_owned()],
        read_only: true,
    };
    let RootfsStorages { storages, path } = rootfs_storages("c1", &disk, &["02/00".to_owned()]);
    let [blk, overlay] = &storages[..] else {
        panic!("{storages:?}");
    };
    let lower = "/run/kata-containers/virtual-volumes/MDIvMDA=";
    assert_eq!((blk.driver.as_str(), blk.source.as_str()), ("blk", "02/00"));
    assert_eq!(
        (blk.fstype.as_str(), blk.options.as_slice()),
        ("erofs", &["ro".to_owned()][..])
    );
    assert_eq!(blk.mount_point, lower);
    assert_eq!(path, "/run/kata-containers/c1/rootfs");
    assert_eq!(overlay.mount_point, path);
    assert_eq!(
        (overlay.driver.as_str(), overlay.fstype.as_str()),
        ("overlayfs", "overlay")
    );
    assert_eq!(
        overlay.options,
        [
            &format!("lowerdir={lower}"),
            "upperdir=/run/kata-containers/c1/fs",
            "workdir=/run/kata-containers/c1/work",
        ]
    );
    assert_eq!(
        overlay.driver_options,
        ["fs", "work"].map(|dir| format!(
            "io.katacontainers.volume.overlayfs.create_directory=/run/kata-containers/c1/{dir}"
        ))
    );
}

#[test]
fn layers_are_mounted_over_each_other_in_their_order() {
    let disk = RootfsDisk {
        fs_type: "erofs".to_owned(),
        options: Vec::new(),
        read_only: true,
    };
    let places = ["02/00", "03/00"].map(str::to_owned);
    let RootfsStorages { storages, .. } = rootfs_storages("c1", &disk, &places);
    let [top, bottom, overlay] = &storages[..] else {
        panic!("{storages:?}");
    };
    assert_eq!([&top.source, &bottom.source], [&places[0], &places[1]]);
    assert_ne!(top.mount_point, bottom.mount_point);
    let lower = format!("lowerdir={}:{}", top.mount_point, bottom.mount_point);
    assert_eq!(overlay.options[0], lower);
}

#[test]
fn a_writable_disk_is_the_root_itself() {
    let disk = RootfsDisk {
        fs_type: "xfs".to_owned(),
        options: vec!["discard".to_owned()],
        read_only: false,
    };
    let RootfsStorages { storages, path } = rootfs_storages("c1", &disk, &["1e/00".to_owned()]);
    let [blk] = &storages[..] else {
        panic!("{storages:?}");
    };
    assert_eq!(path, "/run/kata-containers/shared/containers/c1/rootfs");
    assert_eq!(blk.mount_point, path);
    assert_eq!(blk.options, ["discard", "nouuid"]);
}

/// A container that is given these devices, and by its rules all devices or just some.
fn with_devices(devices: &str, all: bool) -> Bundle {
    let rules = match all {
        true => r#"[{"allow": true, "access": "rwm"}]"#,
        false => {
            r#"[{"allow": false, "access": "rwm"},
                {"allow": true, "type": "c", "major": 10, "minor": 57}]"#
        }
    };
    bundle(&format!(
        r#"{{"ociVersion": "1.0.2",
            "process": {{"user": {{"uid": 0, "gid": 0}}, "args": ["x"], "cwd": "/"}},
            "linux": {{"devices": [{devices}], "resources": {{"devices": {rules}}}}}}}"#
    ))
}

#[test]
fn a_character_device_of_the_hosts_own_number_is_refused_by_name() {
    let plugged = r#"{"path": "/dev/plugin0", "type": "c", "major": 10, "minor": 57}"#;
    let error = guest(&with_devices(plugged, false), OPTIONS).unwrap_err();
    let error = error.to_string();
    assert!(error.contains("/dev/plugin0 (c 10:57)"), "{error}");
    let fuse = r#"{"path": "/dev/fuse", "type": "c", "major": 10, "minor": 229}"#;
    let fifo = r#"{"path": "/dev/initctl", "type": "p"}"#;
    for (devices, all, kept) in [
        (
            format!("{fuse},{fifo}"),
            false,
            ["/dev/fuse", "/dev/initctl"].as_slice(),
        ),
        // As a privileged container has them.
        (format!("{plugged},{fuse}"), true, &["/dev/fuse"]),
    ] {
        let spec = provided(guest(&with_devices(&devices, all), OPTIONS).unwrap());
        let paths: Vec<_> = spec.Linux.Devices.iter().map(|d| d.Path.as_str()).collect();
        assert_eq!(paths, kept);
    }
}

#[test]
fn devices_that_every_container_has_are_not_asked_for() {
    let bundle = bundle(
        r#"{"ociVersion": "1.0.2",
            "process": {"user": {"uid": 0, "gid": 0}, "args": ["x"], "cwd": "/"},
            "linux": {"devices": [
            {"path": "/dev/full", "type": "c", "major": 1, "minor": 7},
            {"path": "/dev/tty", "type": "c", "major": 5, "minor": 0},
            {"path": "/dev/null", "type": "c", "major": 1, "minor": 5},
            {"path": "/dev/fuse", "type": "c", "major": 10, "minor": 229}]}}"#,
    );
    let spec = provided(guest(&bundle, OPTIONS).unwrap());
    let paths: Vec<_> = spec.Linux.Devices.iter().map(|d| d.Path.as_str()).collect();
    assert_eq!(paths, ["/dev/null", "/dev/fuse"]);
}

#[test]
fn a_rule_goes_along_if_its_numbers_mean_the_same_in_the_guest() {
    let bundle = bundle(
        r#"{"ociVersion": "1.0.2",
            "process": {"user": {"uid": 0, "gid": 0}, "args": ["x"], "cwd": "/"}, "linux": {
            "devices": [{"path": "/dev/sdb", "type": "b", "major": 8, "minor": 16}],
            "resources": {"devices": [
            {"allow": false, "access": "rwm"},
            {"allow": true, "type": "c", "major": 10, "minor": 229, "access": "rw"},
            {"allow": true, "type": "c", "major": 10, "minor": 58, "access": "rw"},
            {"allow": true, "type": "c", "major": 240, "minor": 0, "access": "rw"},
            {"allow": true, "type": "c", "major": 1, "minor": 11, "access": "r"},
            {"allow": true, "type": "c", "access": "m"},
            {"allow": true, "type": "b", "access": "m"},
            {"allow": true, "type": "b", "major": 8, "minor": 0, "access": "rw"},
            {"allow": true, "type": "b", "major": 8, "minor": 16, "access": "rm"}]}}}"#,
    );
    let mut spec = guest(&bundle, OPTIONS).unwrap();
    assert_eq!(
        spec.left_out(),
        ["device rules for numbers of the host's own"]
    );
    let disk = spec.take_block_devices().remove(0);
    spec.add_block_device(&disk);
    let spec = provided(spec);
    let rules = &spec.Linux.Resources.Devices;
    let rules: Vec<_> = rules
        .iter()
        .map(|rule| {
            (
                rule.Allow,
                &*rule.Type,
                rule.Major,
                rule.Minor,
                &*rule.Access,
            )
        })
        .collect();
    assert_eq!(
        rules,
        [
            (false, "a", -1, -1, "rwm"),
            (true, "c", 10, 229, "rw"),
            (true, "c", 1, 11, "r"),
            (true, "c", -1, -1, "m"),
            (true, "b", -1, -1, "m"),
            (true, "b", 8, 16, "rm"),
        ]
    );
}

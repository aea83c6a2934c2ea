use std::{
    fs::{self, File},
    os::unix::fs::symlink,
};

use super::*;
use crate::mounts::walk::Content;

fn content(path: &Path, read_only: bool) -> Content {
    Content::Known {
        opened: std::sync::Arc::new(File::open(path).unwrap().into()),
        read_only,
    }
}

fn resolved(walk: &Walk, destination: &str) -> String {
    let found = walk.resolve(Path::new(destination), Wanted::Directory);
    found.unwrap().path.to_str().unwrap().to_owned()
}

#[test]
fn links_are_followed_within_the_root() {
    let root = tempfile::tempdir().unwrap();
    let link = |target: &str, name: &str| symlink(target, root.path().join(name)).unwrap();
    fs::create_dir_all(root.path().join("etc")).unwrap();
    fs::create_dir_all(root.path().join("real/deep")).unwrap();
    link("../run/systemd/resolve/stub-resolv.conf", "etc/resolv.conf");
    link("/var/lib/absent", "data");
    link("second", "first");
    link("/third/x", "second");
    link("real", "third");
    link("../../../../../../out", "up");
    link("/real/deep/../../data/y", "mixed");
    link("loop", "loop");
    let walk = Walk::new(root.path()).unwrap();
    for (destination, expected) in [
        ("/etc/resolv.conf", "/run/systemd/resolve/stub-resolv.conf"),
        ("/data", "/var/lib/absent"),
        ("/data/below/it", "/var/lib/absent/below/it"),
        ("/first", "/real/x"),
        ("/first/../y", "/real/y"),
        ("/up", "/out"),
        ("/mixed", "/var/lib/absent/y"),
        ("/../../etc/./new", "/etc/new"),
        ("/absent/../real", "/real"),
        ("/", "/"),
    ] {
        assert_eq!(resolved(&walk, destination), expected, "{destination}");
    }
    let looped = walk.resolve(Path::new("/loop"), Wanted::File);
    assert_eq!(looped.unwrap_err(), Errno::ELOOP);
    symlink("a/".repeat(2000) + "long", root.path().join("long")).unwrap();
    let long = walk.resolve(Path::new("/long/x"), Wanted::File);
    assert_eq!(long.unwrap().path.components().count(), 2003);
    let longer = "/long/".to_owned() + &"x/".repeat(1000);
    let longer = walk.resolve(Path::new(&longer), Wanted::File);
    assert_eq!(longer.unwrap_err(), Errno::ENAMETOOLONG);
    assert!(!root.path().join("var").exists() && !root.path().join("run").exists());
}

#[test]
fn a_way_leads_through_the_mounts_before() {
    let root = tempfile::tempdir().unwrap();
    let volume = tempfile::tempdir().unwrap();
    fs::create_dir_all(root.path().join("data/hidden")).unwrap();
    symlink("/etc", root.path().join("data/x")).unwrap();
    symlink("/srv/of-the-volume", volume.path().join("x")).unwrap();
    fs::write(volume.path().join("file"), "").unwrap();
    let mut walk = Walk::new(root.path()).unwrap();
    assert_eq!(resolved(&walk, "/data/x"), "/etc");
    walk.mounted("/data".into(), content(volume.path(), false));
    assert_eq!(resolved(&walk, "/data/x/y"), "/srv/of-the-volume/y");
    let found = walk.resolve(Path::new("/data/file"), Wanted::File).unwrap();
    assert_eq!(found.kind, Some(SFlag::S_IFREG));
    let through = walk.resolve(Path::new("/data/file/y"), Wanted::File);
    assert_eq!(through.unwrap_err(), Errno::ENOTDIR);
    walk.mounted("/data".into(), Content::Missing);
    assert_eq!(resolved(&walk, "/data/x/y"), "/data/x/y");
}

#[test]
fn what_lacks_below_a_read_only_mount_is_made_before() {
    let root = tempfile::tempdir().unwrap();
    let volume = tempfile::tempdir().unwrap();
    let mut walk = Walk::new(root.path()).unwrap();
    walk.mounted("/data".into(), content(volume.path(), true));
    assert_eq!(resolved(&walk, "/data/a/b"), "/data/a/b");
    let file = Path::new("/data/a/file");
    walk.resolve(file, Wanted::File).unwrap();
    assert!(volume.path().join("a/b").is_dir() && volume.path().join("a/file").is_file());
    assert_eq!(fs::read_dir(root.path()).unwrap().count(), 0);
}

fn mount(source: &Path, destination: &str, options: &[&str]) -> Mount {
    Mount {
        source: source.to_str().unwrap().to_owned(),
        destination: destination.to_owned(),
        type_: "bind".to_owned(),
        options: options.iter().map(|&option| option.to_owned()).collect(),
        ..Default::default()
    }
}

#[test]
fn what_cannot_be_mounted_is_named_with_the_reason() {
    let root = tempfile::tempdir().unwrap();
    let agent = tempfile::tempdir().unwrap();
    fs::write(root.path().join("file"), "").unwrap();
    symlink("/proc/self/attr", root.path().join("sneaky")).unwrap();
    let volume = agent.path().join("volume");
    fs::create_dir(&volume).unwrap();
    fs::write(volume.join("file"), "").unwrap();
    symlink("/", volume.join("link")).unwrap();
    for (source, destination, reason) in [
        ("absent", "/data", "No such file or directory"),
        ("link", "/data", "Too many levels of symbolic links"),
        ("link/etc", "/data", "Too many levels of symbolic links"),
        (".", "/file", "Not a directory"),
        (".", "/file/below", "Not a directory"),
        ("file", "/", "Is a directory"),
        (".", "/proc", "only procfs can be there"),
        (".", "/sneaky", "it is inside /proc"),
    ] {
        let source = volume.join(source);
        let mut spec = Spec::new();
        spec.Root.mut_or_insert_default().Path = root.path().to_str().unwrap().to_owned();
        spec.Mounts = vec![mount(&source, destination, &["rbind"])];
        let error = stage(agent.path(), "a", &mut spec).unwrap_err().chain();
        let named = format!("Could not mount {} at {destination}: ", source.display());
        assert!(
            error.starts_with(&named) && error.contains(reason),
            "{error}"
        );
    }
    assert!(!agent.path().with_extension("mounts").join("a").exists());
}

#[test]
fn propagation_is_ours_and_not_the_runtimes() {
    let asked = mount(Path::new("/x"), "/y", &["rbind", "ro", "rslave", "private"]);
    let changes: Vec<_> = options::propagations(&asked).collect();
    use nix::mount::MsFlags;
    let slave = MsFlags::MS_SLAVE | MsFlags::MS_REC;
    assert_eq!(changes, [slave, MsFlags::MS_PRIVATE]);
    let told = rewritten(&asked, Path::new("/z"), Some("/staged".into())).unwrap();
    assert_eq!(told.options, ["rbind", "ro"]);
    assert_eq!(
        (told.source.as_str(), told.destination.as_str()),
        ("/staged", "/z")
    );
    for (given, word) in [
        ("rshared", "shared"),
        ("rslave", "slave"),
        ("private", "private"),
        ("", ""),
    ] {
        assert_eq!(root_propagation(given).unwrap(), word);
    }
    let wrong = root_propagation("rslaved").unwrap_err().chain();
    assert!(wrong.contains("rslaved"), "{wrong}");
}

#[test]
fn only_a_failed_mount_is_one() {
    let (root, agent) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let refused = |reason: &str| Error::Runtime {
        doing: "create container a".to_owned(),
        reason: reason.to_owned(),
    };
    let explained = |reason: &str| {
        let mut spec = Spec::new();
        spec.Root.mut_or_insert_default().Path = root.path().to_str().unwrap().to_owned();
        let mut tmpfs = mount(Path::new("tmpfs"), "/tmp", &["size=much"]);
        tmpfs.type_ = "tmpfs".to_owned();
        spec.Mounts = vec![tmpfs];
        let mut staged = stage(agent.path(), "a", &mut spec).unwrap();
        staged.explain(refused(reason)).chain()
    };
    let innocent = explained("exec: \"x\": executable file not found in $PATH");
    assert!(innocent.contains("executable file"), "{innocent}");
    let guilty = explained("failed to prepare rootfs: invalid argument");
    assert!(
        guilty.contains("mount a tmpfs at /tmp (size=much)"),
        "{guilty}"
    );
}

#[test]
fn a_name_that_is_no_text_is_refused() {
    use std::{ffi::OsStr, os::unix::ffi::OsStrExt};

    let (root, agent) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    symlink(OsStr::from_bytes(b"/x\xff"), root.path().join("link")).unwrap();
    let mut spec = Spec::new();
    spec.Root.mut_or_insert_default().Path = root.path().to_str().unwrap().to_owned();
    spec.Mounts = vec![mount(agent.path(), "/link", &["rbind", "ro"])];
    let error = stage(&agent.path().join("run"), "a", &mut spec).unwrap_err();
    assert!(error.chain().contains("no UTF-8"), "{}", error.chain());
}

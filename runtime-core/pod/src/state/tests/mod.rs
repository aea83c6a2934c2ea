//! A sandbox's directory from its making to the cleaning up after a killed shim.

mod cleaning;
mod versions;

use std::{
    fs,
    os::unix::fs::{MetadataExt, symlink},
    path::{Path, PathBuf},
};

use config::RUN_ROOT_MAX;

use super::*;

/// The bundle of every sandbox here.
const BUNDLE: &str = "/bundle";

struct Fixture {
    root: tempfile::TempDir,
}

impl Fixture {
    fn new() -> Self {
        Self {
            root: tempfile::Builder::new().prefix("st").tempdir().unwrap(),
        }
    }

    fn create(&self, id: &str) -> SandboxDir {
        SandboxDir::create(self.root.path(), id, Path::new(BUNDLE)).unwrap()
    }

    fn record(&self, id: &str) -> Result<Option<SandboxState>, StateError> {
        dir::load(&SandboxDir::path_for(self.root.path(), id)?)
    }

    /// Nothing but the run root itself.
    fn assert_empty(&self) {
        let left: Vec<_> = fs::read_dir(self.root.path()).unwrap().collect();
        assert!(left.is_empty(), "{left:?}");
    }
}

fn mode(path: &Path) -> u32 {
    fs::symlink_metadata(path).unwrap().mode() & 0o7777
}

#[test]
fn directories_and_files_are_private() {
    let fixture = Fixture::new();
    let dir = fixture.create("one");
    for path in [dir.path().parent().unwrap(), dir.path(), &dir.vmm_dir()] {
        assert_eq!(mode(path), 0o700, "{path:?}");
    }
    assert_eq!(mode(&dir.path().join("state.json")), 0o600);
    dir.remove().unwrap();
    fixture.assert_empty();
}

#[test]
fn the_record_is_found_again() {
    let fixture = Fixture::new();
    let mut dir = fixture.create("one");
    dir.record(|state| {
        state.vmm_binary = Some("/usr/bin/qemu".into());
        let disks = vec![DiskRecord {
            id: "d0".to_owned(),
            path: "/image".into(),
        }];
        let bundle = "/bundle".into();
        state
            .containers
            .insert("one".to_owned(), ContainerRecord { bundle, disks });
    })
    .unwrap();
    let found = fixture.record("one").unwrap().unwrap();
    assert_eq!(&found, dir.state());
    assert_eq!(found.shim, ProcessRecord::of_this_process());
    assert!(found.shim.is_some());
    assert!(fixture.record("two").unwrap().is_none());
}

#[test]
fn a_record_that_cannot_be_written_is_not_believed() {
    let fixture = Fixture::new();
    let mut dir = fixture.create("one");
    fs::remove_dir_all(dir.path()).unwrap();
    dir.record(|state| state.cgroups.push("/group".into()))
        .unwrap_err();
    assert!(dir.state().cgroups.is_empty());
}

#[test]
fn names_are_checked_before_anything_is_made() {
    let fixture = Fixture::new();
    let long = "a".repeat(77);
    for id in ["..", "a/b", "", &long] {
        let made = SandboxDir::create(fixture.root.path(), id, Path::new("/bundle"));
        assert!(matches!(made, Err(StateError::Id(_))), "{id}");
    }
    let deep = fixture.root.path().join("x".repeat(90));
    let made = SandboxDir::create(&deep, "one", Path::new("/bundle"));
    assert!(
        matches!(made, Err(StateError::PathTooLong { .. })),
        "{made:?}"
    );
    fixture.assert_empty();
    // As the configuration has it: every socket of a pod of a node is one.
    let longest = fixture.root.path().join("s/x/y");
    let root = &longest.to_str().unwrap()[..RUN_ROOT_MAX.min(longest.as_os_str().len())];
    let padded = format!("{root:0<RUN_ROOT_MAX$}");
    let dir = SandboxDir::path_for(Path::new(&padded), &"a".repeat(64)).unwrap();
    assert_eq!(dir.join(MANAGEMENT_SOCKET).as_os_str().len(), 107);
    // The default place has room for the longest identifier.
    SandboxDir::path_for(Path::new("/run/imprint"), &"a".repeat(76)).unwrap();
}

#[test]
fn a_second_sandbox_of_the_name_is_refused() {
    let fixture = Fixture::new();
    let dir = fixture.create("one");
    let again = SandboxDir::create(fixture.root.path(), "one", Path::new("/other"));
    assert!(matches!(again, Err(StateError::Exists { .. })), "{again:?}");
    assert_eq!(&fixture.record("one").unwrap().unwrap(), dir.state());
}

/// The parent directory comes and goes with the sandboxes, on all sides at once.
#[test]
fn sandboxes_come_and_go_side_by_side() {
    let fixture = Fixture::new();
    std::thread::scope(|scope| {
        for number in 0..4 {
            let fixture = &fixture;
            scope.spawn(move || {
                for _ in 0..100 {
                    fixture.create(&format!("s{number}")).remove().unwrap();
                }
            });
        }
    });
    fixture.assert_empty();
}

#[test]
fn damaged_records_are_told() {
    let fixture = Fixture::new();
    let dir = fixture.create("one");
    let record = dir.path().join("state.json");
    let whole = fs::read_to_string(&record).unwrap();
    for damaged in [
        "",
        &whole[..whole.len() / 2],
        "[]",
        &whole.replace("\"version\": 1", "\"version\": 9"),
    ] {
        fs::write(&record, damaged).unwrap();
        let error = fixture.record("one").unwrap_err();
        assert!(matches!(error, StateError::Unreadable { .. }), "{error}");
    }
    // A member that this version does not know does no harm.
    fs::write(&record, whole.replacen('{', "{\"later\": 1,", 1)).unwrap();
    fixture.record("one").unwrap().unwrap();
    fs::remove_file(&record).unwrap();
    symlink("/etc/passwd", &record).unwrap();
    assert!(matches!(fixture.record("one"), Err(StateError::Io { .. })));
}

#[test]
fn the_link_to_a_restored_vm_goes_with_the_sandbox_on_every_path() {
    let fixture = Fixture::new();
    let links = fixture.root.path().join("vm");
    let link = links.join("one");
    let linked = || {
        let dir = fixture.create("one");
        dir.link_vm().unwrap();
        assert!(link.symlink_metadata().unwrap().is_symlink());
        assert_eq!(
            link.canonicalize().unwrap(),
            dir.vmm_dir().canonicalize().unwrap()
        );
        dir
    };
    linked().remove().unwrap();
    assert!(link.symlink_metadata().is_err());

    let path = linked().path().to_owned();
    assert!(cleanup(&path, Path::new(BUNDLE)).is_clean());
    assert!(link.symlink_metadata().is_err());

    // Clean-up may come twice, or after the directory has gone.
    let path = linked().path().to_owned();
    fs::remove_dir_all(&path).unwrap();
    assert!(cleanup(&path, Path::new(BUNDLE)).is_clean());
    assert!(link.symlink_metadata().is_err());
}

#[test]
fn what_is_no_link_of_the_sandbox_is_not_touched() {
    let fixture = Fixture::new();
    let template = fixture.root.path().join("vm/template");
    fs::create_dir_all(&template).unwrap();
    let dir = fixture.create("template");
    assert!(dir.link_vm().is_err());
    dir.remove().unwrap();
    assert!(template.is_dir());
}

/// After a shim was killed, containerd calls `delete` for the sandbox and for its container.
#[test]
fn two_removals_at_once_both_succeed() {
    let fixture = Fixture::new();
    let together = std::sync::Barrier::new(2);
    for _ in 0..100 {
        let dir = fixture.create("one");
        dir.link_vm().unwrap();
        std::thread::scope(|scope| {
            let remove = || {
                together.wait();
                dir::remove(dir.path())
            };
            let both = [scope.spawn(remove), scope.spawn(remove)];
            for removal in both {
                removal.join().unwrap().unwrap();
            }
        });
    }
}

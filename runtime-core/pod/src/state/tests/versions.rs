//! Records that another version of this program wrote: those of the present format are read,
//! whatever later fields they have, and of all others the VMM is still found and ended.

use super::*;

/// What version 1 of the format wrote. A change that cannot read it raises `VERSION`, and this
/// record is then one of those that are refused.
const VERSION_1: &str = include_str!("state-1.json");

fn dir_with(fixture: &Fixture, record: &str) -> PathBuf {
    let dir = fixture.create("one");
    fs::write(dir.path().join("state.json"), record).unwrap();
    dir.path().to_owned()
}

#[test]
fn a_record_of_version_1_is_read() {
    let fixture = Fixture::new();
    dir_with(&fixture, VERSION_1);
    let state = fixture.record("one").unwrap().unwrap();
    let process = |pid, start_time| Some(ProcessRecord { pid, start_time });
    assert_eq!(state.sandbox_id, "one");
    assert_eq!(state.bundle, Path::new(BUNDLE));
    assert_eq!(state.shim, process(4_194_301, 11));
    assert_eq!(state.vmm, process(4_194_302, 12));
    assert_eq!(
        state.vmm_binary.as_deref(),
        Some(Path::new("/usr/bin/qemu-system-x86_64"))
    );
    assert_eq!(
        state.cgroups,
        [Path::new("/sys/fs/cgroup/imprint-of-no-node/one")]
    );
    let network = state.network.as_ref().unwrap();
    assert_eq!((network.dev, network.ino), (4, 4_026_532_000));
    let disk = &state.containers["one"].disks[0];
    assert_eq!(disk.id, "disk0");
}

#[test]
fn what_a_record_of_version_1_names_is_cleaned_up() {
    let fixture = Fixture::new();
    let path = dir_with(&fixture, VERSION_1);
    let report = cleanup(&path, Path::new(BUNDLE));
    let process = ProcessRecord {
        pid: 4_194_302,
        start_time: 12,
    };
    assert_eq!(report.vmms, [(process, VmmOutcome::Gone)]);
    assert!(report.removed && report.is_clean(), "{report:?}");
    fixture.assert_empty();
}

#[test]
fn a_field_of_a_later_release_is_no_obstacle() {
    let fixture = Fixture::new();
    let with_more = VERSION_1.replacen('{', "{\n  \"warm\": {\"pool\": 3},", 1);
    dir_with(&fixture, &with_more);
    let found = fixture.record("one").unwrap().unwrap();
    assert_eq!(found.sandbox_id, "one");
}

#[test]
fn a_record_of_an_unknown_version_is_named_and_its_sandbox_removed() {
    for version in [0, 2] {
        let fixture = Fixture::new();
        let other = VERSION_1.replacen("\"version\": 1", &format!("\"version\": {version}"), 1);
        let path = dir_with(&fixture, &other);
        let refused = fixture.record("one").unwrap_err().to_string();
        let reason = format!("format {version}, expected 1");
        assert!(refused.contains(&reason), "{refused}");

        let report = cleanup(&path, Path::new(BUNDLE));
        assert!(report.removed, "{report:?}");
        assert!(
            matches!(&*report.problems, [one] if one.contains(&reason)),
            "{report:?}"
        );
        fixture.assert_empty();
    }
}

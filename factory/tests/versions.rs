//! Templates that another version of this program made: those of the present format are read, and
//! with any other the VM boots, with the reason, until a new template is made.
#![allow(
    clippy::expect_used,
    clippy::unwrap_used,
    reason = "allowed in tests, of which these are parts"
)]

mod support;

use std::{
    fs::{self, DirBuilder, Permissions},
    os::unix::fs::{DirBuilderExt, PermissionsExt},
    path::Path,
};

use factory::{FORMAT_VERSION, InitError, TemplateStore, Unusable, start::StartPath};
use support::{Bench, can_mount};

/// What `imprint factory init` wrote, by the version of its format. Who raises [`FORMAT_VERSION`]
/// adds what it writes then, with its guest in `/usr/share/imprint`; the older ones stay, to be
/// refused.
const WRITTEN: [(u32, &str); 2] = [
    (2, include_str!("testdata/manifest-2.json")),
    (3, include_str!("testdata/manifest-3.json")),
];

/// A store with one template that has this manifest.
fn store_with(directory: &Path, manifest: &str) -> TemplateStore {
    let path = directory.join("templates");
    let template = path.join("one");
    let mut private = DirBuilder::new();
    private
        .recursive(true)
        .mode(0o700)
        .create(&template)
        .unwrap();
    write_private(&template.join("manifest.json"), manifest);
    TemplateStore::at(path)
}

fn write_private(path: &Path, text: &str) {
    fs::write(path, text).unwrap();
    fs::set_permissions(path, Permissions::from_mode(0o600)).unwrap();
}

/// The manifest of the present version.
fn present() -> &'static str {
    let present = WRITTEN
        .iter()
        .find(|(version, _)| *version == FORMAT_VERSION);
    present
        .expect("testdata has a manifest of the present version")
        .1
}

#[test]
fn a_manifest_of_the_present_version_is_read() {
    let directory = tempfile::tempdir().unwrap();
    let found = store_with(directory.path(), present()).list().unwrap();
    let template = found[0].as_ref().unwrap();
    assert!(present().contains(template.key()));
    let made_from = template.manifest().made_from();
    let kernel = made_from.iter().find(|(name, _)| *name == "kernel");
    let (_, kernel) = kernel.unwrap();
    assert!(kernel.starts_with("/usr/share/imprint/vmlinux"), "{kernel}");
}

#[test]
fn a_manifest_of_another_version_is_refused_by_its_number() {
    let next = (
        FORMAT_VERSION + 1,
        &*with_version(present(), FORMAT_VERSION + 1),
    );
    let older = WRITTEN
        .into_iter()
        .filter(|(version, _)| *version < FORMAT_VERSION);
    for (version, manifest) in older.chain([next]) {
        let directory = tempfile::tempdir().unwrap();
        let found = store_with(directory.path(), manifest).list().unwrap();
        let refused = found[0].as_ref().unwrap_err();
        assert!(
            matches!(refused, Unusable::FormatVersion { found } if *found == version),
            "{refused}"
        );
    }
}

#[tokio::test]
async fn a_vm_boots_beside_a_template_of_another_version_until_a_new_one_is_made() {
    if !can_mount() {
        return;
    }
    let bench = Bench::new();
    bench.init(None, false).await.unwrap();
    let manifest = bench.template_dir().join("manifest.json");
    let text = fs::read_to_string(&manifest).unwrap();
    write_private(&manifest, &with_version(&text, FORMAT_VERSION + 1));

    let hypervisor = bench.hypervisor(None);
    let started = bench.start(&hypervisor).await;
    assert_eq!(started.report.path, StartPath::Booted);
    let reason = format!("format version {}", FORMAT_VERSION + 1);
    assert!(
        started.report.reason.contains(&reason),
        "{}",
        started.report.reason
    );
    drop(started);

    // One that cannot be read is replaced on request only, as one that can be.
    let kept = bench.init(None, false).await.unwrap_err();
    assert!(matches!(kept, InitError::AlreadyThere { .. }), "{kept}");
    bench.init(None, true).await.unwrap();
    let found = bench.store.list().unwrap();
    assert!(matches!(&*found, [Ok(_)]), "{found:?}");
}

/// The manifest with another version of its format, however it is laid out.
fn with_version(manifest: &str, version: u32) -> String {
    let mut value: serde_json::Value = serde_json::from_str(manifest).unwrap();
    value["format_version"] = version.into();
    value.to_string()
}

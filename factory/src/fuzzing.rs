//! What fuzz targets call: each function reads from bytes what a start reads from a template's
//! directory. Built for fuzzing only.

use std::{
    fs::{self, Permissions},
    os::unix::fs::PermissionsExt,
    path::PathBuf,
    sync::LazyLock,
};

use crate::{
    failures,
    identity::TemplateIdentity,
    layout::{FAILURES, MANIFEST, MEMORY},
    manifest::{Manifest, MemoryFile, StateFile},
    store::TemplateStore,
};

/// Reads the bytes as a manifest.
pub fn manifest(bytes: &[u8]) {
    if let Ok(manifest) = Manifest::decode(bytes) {
        use_up(&manifest);
    }
}

/// Reads the bytes as a manifest, gives it the right key and digest, and reads the result.
pub fn sealed_manifest(bytes: &[u8]) {
    let Ok(mut manifest) = serde_json::from_slice::<Manifest>(bytes) else {
        return;
    };
    manifest.key = manifest.identity.key();
    if let Ok(Ok(read)) = manifest
        .encode()
        .map(|text| Manifest::decode(text.as_slice()))
    {
        assert_eq!(read, manifest);
        use_up(&read);
    }
}

/// Reads the bytes as a record of failed restores.
pub fn failures(bytes: &[u8]) {
    let _ = failures::judge(&String::from_utf8_lossy(bytes));
}

/// Reads a template whose manifest, record and state are these bytes, cut in three at the places
/// that the first two bytes say.
pub fn template(bytes: &[u8]) {
    static PLACE: LazyLock<Option<PathBuf>> = LazyLock::new(|| {
        let place = std::env::temp_dir().join(format!("imprint-fuzz-{}", std::process::id()));
        let made = fs::create_dir_all(place.join("one"));
        made.is_ok().then_some(place)
    });
    let (Some(place), [first, second, rest @ ..]) = (PLACE.as_ref(), bytes) else {
        return;
    };
    let (one, rest) = rest.split_at(rest.len() * usize::from(*first) / 256);
    let (two, three) = rest.split_at(rest.len() * usize::from(*second) / 256);
    let dir = place.join("one");
    for (name, content) in [
        (MANIFEST, one),
        (FAILURES, two),
        ("state", three),
        (MEMORY, &[]),
    ] {
        let path = dir.join(name);
        let written = fs::write(&path, content)
            .and_then(|()| fs::set_permissions(&path, Permissions::from_mode(0o600)));
        if written.is_err() {
            return;
        }
    }
    for path in [place, &dir] {
        let _ = fs::set_permissions(path, Permissions::from_mode(0o700));
    }
    let _ = failures::check(&dir);
    for template in TemplateStore::at(place)
        .list()
        .into_iter()
        .flatten()
        .flatten()
    {
        use_up(template.manifest());
        let _ = template.check_files();
        let _ = template.verify_memory();
    }
}

fn use_up(manifest: &Manifest) {
    assert_eq!(manifest.identity.mismatches(&manifest.identity), []);
    let _ = manifest.made_from();
}

/// Writes the seed of `target` into the file that `IMPRINT_SEED` names, if it is set.
pub fn write_seed(target: &str) {
    if let (Some(path), Some(seed)) = (std::env::var_os("IMPRINT_SEED"), seed(target)) {
        // A target works without a seed too, and only finds less in the same time.
        let _ = fs::write(path, seed);
    }
}

fn seed(target: &str) -> Option<Vec<u8>> {
    const RECORD: &[u8] = b"1 one\n2 two\n3 three\n";
    let manifest = sample()?;
    Some(match target {
        "manifest" => manifest.encode().ok()?,
        "sealed_manifest" => serde_json::to_vec(&manifest).ok()?,
        "template" => {
            let parts = [&[200, 128][..], &manifest.encode().ok()?, RECORD];
            parts.concat()
        }
        _ => RECORD.to_vec(),
    })
}

/// A well-formed manifest; no template belongs to it.
fn sample() -> Option<Manifest> {
    let file = std::env::current_exe().ok()?;
    let vmm = hypervisors::Identity {
        vmm: "qemu",
        binary: file.clone(),
        version: "7.2".into(),
        machine: hypervisors::Machine::default(),
        cpu: "max".into(),
    };
    let spec = hypervisors::VmSpec {
        id: "vm".into(),
        run_dir: "/".into(),
        vcpus: 1,
        max_vcpus: 2,
        memory: hypervisors::MemorySpec {
            mib: 64,
            max_mib: 128,
            backing: hypervisors::MemoryBacking::Anonymous,
        },
        kernel: hypervisors::KernelSpec {
            kernel: file.clone(),
            root: hypervisors::GuestRoot::Initrd(file),
            command_line: "quiet".into(),
        },
        netns: None,
        slots: hypervisors::DiskSlots::default(),
        nic: None,
    };
    let wanted = TemplateIdentity::of(&vmm, &spec).ok()?;
    let identity = wanted.digested(None).ok()?;
    let stamp = identity.kernel.stamp;
    Some(Manifest {
        key: identity.key(),
        nonce: "a1".into(),
        created: 1_700_000_000,
        identity,
        memory: MemoryFile {
            stamp,
            digest: "00".into(),
        },
        state: vec![StateFile {
            name: "state".into(),
            length: 3,
            sha256: "11".into(),
        }],
    })
}

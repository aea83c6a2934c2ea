//! VMs that cannot be, refused before a process is made for them.

use std::{error::Error as _, fs, path::PathBuf};

use hypervisors::{Error, GuestRoot, MemoryBacking, VmSpec};

use crate::subject::{MIB, Subject};

async fn refusal(subject: &Subject, spec: &VmSpec) -> Error {
    let refused = subject.hypervisor.boot(spec).await.map(drop);
    let error = refused.unwrap_err();
    eprintln!("{error}");
    subject.assert_nothing_left();
    error
}

pub async fn impossible_vms_are_refused(subject: &Subject) {
    type Change = fn(&mut VmSpec);
    let changes: [(Change, &str); 7] = [
        (|s| s.id = String::new(), "is empty"),
        (|s| s.id = "a\nb".into(), "not printable"),
        (|s| s.vcpus = 0, "0 of at most 1 vCPUs"),
        (|s| s.vcpus = 2, "2 of at most 1 vCPUs"),
        (|s| s.memory.mib = 0, "without memory"),
        (|s| s.memory.max_mib = 1, "of at most 1 MiB"),
        (
            |s| s.run_dir = PathBuf::from("/").join("x".repeat(100)),
            "more than 107 bytes",
        ),
    ];
    for (change, words) in changes {
        let mut spec = subject.spec("a");
        change(&mut spec);
        let error = refusal(subject, &spec).await;
        assert!(matches!(error, Error::InvalidSpec(_)), "{error}");
        assert!(error.to_string().contains(words), "{error}");
    }
}

pub async fn a_missing_kernel_is_named(subject: &Subject) {
    let mut spec = subject.spec("a");
    let kernel = spec.kernel.kernel.clone();
    spec.kernel.kernel = subject.path("missing");
    let error = refusal(subject, &spec).await;
    assert!(error.to_string().starts_with("Reading kernel "), "{error}");
    assert!(error.source().unwrap().to_string().contains("No such file"));
    spec.kernel.kernel = subject.path("text");
    fs::write(&spec.kernel.kernel, "no kernel").unwrap();
    let error = refusal(subject, &spec).await;
    assert!(error.to_string().contains("is no kernel"), "{error}");
    spec.kernel.kernel = kernel;
    spec.kernel.root = GuestRoot::Initrd(subject.path("missing"));
    let error = refusal(subject, &spec).await;
    assert!(error.to_string().starts_with("Opening initrd "), "{error}");
    spec.kernel.root = GuestRoot::Image(subject.path("missing"));
    let error = refusal(subject, &spec).await;
    assert!(
        error.to_string().starts_with("Opening guest image "),
        "{error}"
    );
}

pub async fn a_memory_file_has_exactly_the_memorys_size(subject: &Subject) {
    let mut spec = subject.spec("a");
    let path = subject.path("other-memory");
    spec.memory.backing = MemoryBacking::File {
        path: path.clone(),
        shared: true,
    };
    let error = refusal(subject, &spec).await;
    assert!(
        error.to_string().starts_with("Opening memory file"),
        "{error}"
    );
    for wrong in [(u64::from(MIB) << 20) - 1, (u64::from(MIB) << 20) + 4096] {
        fs::File::create(&path).unwrap().set_len(wrong).unwrap();
        let error = refusal(subject, &spec).await;
        assert!(matches!(error, Error::InvalidSpec(_)), "{error}");
    }
}

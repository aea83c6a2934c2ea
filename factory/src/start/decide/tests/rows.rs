//! What can be wrong with a node's templates, and what is decided then.

use hypervisors::{Capabilities, VmSize};

use crate::{
    mismatch::{Field, Mismatch},
    start::facts::{Candidate, Condition, Facts, FailedWay, Found, Templates},
    unusable::Unusable,
};

pub(super) const BASE: VmSize = size(1, 256);

pub(super) const fn size(vcpus: u32, memory_mib: u32) -> VmSize {
    VmSize { memory_mib, vcpus }
}

/// A template that is good, and named by its size.
pub(super) fn template(size: VmSize) -> Candidate {
    Candidate {
        key: format!("{}x{}", size.vcpus, size.memory_mib),
        created: 100,
        size,
        max_size: self::size(4, 2048),
        mismatches: Vec::new(),
        condition: Condition::Good,
    }
}

pub(super) fn mismatch() -> Mismatch {
    let text = |value| Field::text("kernel command line", value);
    Mismatch {
        template: text("quiet"),
        wanted: text("quiet debug"),
    }
}

/// A pod that asks for nothing, where a template of the configured size is good.
pub(super) fn usual() -> Facts {
    Facts {
        templates_enabled: true,
        vmm: "qemu",
        can: Capabilities {
            vcpu_hotplug: true,
            memory_hotplug_beside_file: true,
            disk_slots: true,
            private_file_restore: true,
        },
        base: BASE,
        wanted: BASE,
        max: size(4, 2048),
        may_grow: true,
        slots: 4,
        slot_bytes: 1 << 20,
        first_image: None,
        template_path: "/t".into(),
        templates: Templates::Found(vec![Found::Template(template(BASE))]),
        failed: Vec::new(),
    }
}

pub(super) fn found(templates: impl IntoIterator<Item = Candidate>) -> Facts {
    Facts {
        templates: Templates::Found(templates.into_iter().map(Found::Template).collect()),
        ..usual()
    }
}

pub(super) fn with(condition: Condition) -> Facts {
    found([Candidate {
        condition,
        ..template(BASE)
    }])
}

pub(super) fn bad(why: Unusable) -> Facts {
    with(Condition::Bad(why))
}

pub(super) fn unusable(why: Unusable) -> Facts {
    Facts {
        templates: Templates::Found(vec![Found::Unusable(why)]),
        ..usual()
    }
}

pub(super) fn damaged(what: &str) -> Unusable {
    Unusable::Damaged { what: what.into() }
}

pub(super) fn not_private(mode: u32, owner: u32) -> Unusable {
    let path = "/t/1/state".into();
    Unusable::NotPrivate { path, mode, owner }
}

pub(super) fn failed(way: fn(String, String) -> FailedWay, reason: &str) -> Facts {
    Facts {
        failed: vec![way("1x256".into(), reason.into())],
        ..usual()
    }
}

pub(super) fn restore(template_key: String, reason: String) -> FailedWay {
    FailedWay::Restore {
        template_key,
        reason,
    }
}

pub(super) fn grow(template_key: String, reason: String) -> FailedWay {
    FailedWay::Grow {
        template_key,
        reason,
    }
}

/// The lines of `docs/fallback.md`, and what else can be wrong with a node's templates.
pub(super) fn rows() -> Vec<(&'static str, Facts, &'static str)> {
    let no_files = || Unusable::Unreadable {
        path: "/t/1/state".into(),
        why: "Too many levels of symbolic links".into(),
    };
    vec![
        ("a pod that asks for nothing", usual(), "1x256"),
        (
            "templates are not enabled",
            Facts {
                templates_enabled: false,
                templates: Templates::NotSearched,
                ..usual()
            },
            "disabled: Templates are not enabled",
        ),
        (
            "the VMM cannot restore copy-on-write",
            Facts {
                can: Capabilities {
                    private_file_restore: false,
                    ..usual().can
                },
                ..usual()
            },
            "not-supported: VMM qemu cannot restore a VM copy-on-write",
        ),
        (
            "the kernel cannot be read",
            Facts {
                templates: Templates::Unknown {
                    path: "/vmlinux".into(),
                    why: "no such file".into(),
                },
                ..usual()
            },
            "unknown: Cannot check templates: cannot read /vmlinux: no such file",
        ),
        (
            "manifest is half written",
            unusable(damaged("manifest: EOF")),
            "damaged: Template is damaged: manifest: EOF",
        ),
        (
            "manifest has a flipped bit",
            unusable(damaged("manifest: its content is not what its digest says")),
            "damaged: Template is damaged: manifest: its content is not what its digest says",
        ),
        (
            "manifest is missing",
            found([]),
            "absent: There is no VM template in /t",
        ),
        (
            "manifest is of another version",
            unusable(Unusable::FormatVersion { found: 99 }),
            "format-version: Template has format version 99, this program reads 3",
        ),
        (
            "manifest belongs to another user",
            unusable(not_private(0o600, 1)),
            "not-private: Template is not private: /t/1/state has mode 0600 and owner 1; it must \
             belong to the user who starts VMs and be closed to all others",
        ),
        (
            "directory is open to others",
            unusable(not_private(0o755, 0)),
            "not-private: Template is not private: /t/1/state has mode 0755 and owner 0; it must \
             belong to the user who starts VMs and be closed to all others",
        ),
        (
            "state is missing",
            bad(damaged("/t/1/state is missing")),
            "damaged: Template is damaged: /t/1/state is missing",
        ),
        (
            "state cannot be read (a link)",
            bad(no_files()),
            "unreadable: Template cannot be read: /t/1/state: Too many levels of symbolic links",
        ),
        (
            "state is a directory",
            bad(damaged("/t/1/state is not a regular file")),
            "damaged: Template is damaged: /t/1/state is not a regular file",
        ),
        (
            "state is truncated",
            bad(damaged("/t/1/state has 3 bytes, not 4")),
            "damaged: Template is damaged: /t/1/state has 3 bytes, not 4",
        ),
        (
            "state has a flipped bit",
            bad(damaged("/t/1/state is not what was saved")),
            "damaged: Template is damaged: /t/1/state is not what was saved",
        ),
        (
            "state is open to others",
            bad(not_private(0o755, 0)),
            "not-private: Template is not private: /t/1/state has mode 0755 and owner 0; it must \
             belong to the user who starts VMs and be closed to all others",
        ),
        (
            "three restores failed before",
            bad(Unusable::SetAside {
                failures: 3,
                last: "three".into(),
            }),
            "set-aside: Template is disabled after 3 failed restores in a row, the last: three",
        ),
        (
            "VMM refuses the state",
            failed(restore, "loading the saved state: Input/output error"),
            "restore-failed: Restore failed: loading the saved state: Input/output error",
        ),
        (
            "VMM is killed while it loads",
            failed(restore, "VMM ended while loading the saved state"),
            "restore-failed: Restore failed: VMM ended while loading the saved state",
        ),
        (
            "VMM stops while it loads",
            failed(restore, "Timed out after 2s while loading the saved state"),
            "restore-failed: Restore failed: Timed out after 2s while loading the saved state",
        ),
        (
            "VMM is killed after the resume",
            failed(restore, "connecting to the guest's agent: reset"),
            "restore-failed: Restore failed: connecting to the guest's agent: reset",
        ),
        (
            "agent does not answer",
            failed(restore, "connecting to the guest's agent: timed out"),
            "restore-failed: Restore failed: connecting to the guest's agent: timed out",
        ),
        (
            "reseed is refused",
            failed(restore, "reseeding the guest's random numbers: no"),
            "restore-failed: Restore failed: reseeding the guest's random numbers: no",
        ),
        (
            "reseed hangs",
            failed(restore, "Timed out after 2s while making the clone unique"),
            "restore-failed: Restore failed: Timed out after 2s while making the clone unique",
        ),
        (
            "clock is refused",
            failed(restore, "setting the guest's clock: no"),
            "restore-failed: Restore failed: setting the guest's clock: no",
        ),
        (
            "a restored VM does not grow",
            failed(grow, "the VM cannot grow from 1 vCPU, 256 MiB"),
            "not-grown: Resizing the restored VM failed: the VM cannot grow from 1 vCPU, 256 MiB",
        ),
        (
            "the last way that failed is the reason",
            Facts {
                failed: vec![
                    restore("a".into(), "one".into()),
                    grow("b".into(), "two".into()),
                ],
                ..usual()
            },
            "not-grown: Resizing the restored VM failed: two",
        ),
        (
            "template was made for another command line",
            found([Candidate {
                mismatches: vec![mismatch()],
                condition: Condition::Unchecked,
                ..template(BASE)
            }]),
            "mismatch: Template does not match: kernel command line: template has \"quiet\", \
             wanted \"quiet debug\"",
        ),
        (
            "template cannot grow as far as the pod may",
            found([Candidate {
                max_size: size(4, 1024),
                ..template(BASE)
            }]),
            "mismatch: Template does not match: memory at most in MiB: template has 1024, wanted \
             2048",
        ),
        (
            "memory is truncated",
            bad(damaged("/t/1/memory has 100 bytes, not 200")),
            "damaged: Template is damaged: /t/1/memory has 100 bytes, not 200",
        ),
        (
            "memory has a flipped bit",
            bad(damaged("/t/1/memory was changed or replaced")),
            "damaged: Template is damaged: /t/1/memory was changed or replaced",
        ),
        (
            "memory is missing",
            bad(damaged("/t/1/memory is missing")),
            "damaged: Template is damaged: /t/1/memory is missing",
        ),
        (
            "there is no template",
            unusable(Unusable::Absent { path: "/t".into() }),
            "absent: There is no VM template in /t",
        ),
        (
            "a template that was not checked is not restored",
            with(Condition::Unchecked),
            "absent: There is no VM template in /t",
        ),
        (
            "templates that were not searched for",
            Facts {
                templates: Templates::NotSearched,
                ..usual()
            },
            "absent: There is no VM template in /t",
        ),
    ]
}

/// More than one template.
pub(super) fn several() -> Vec<(&'static str, Facts, &'static str)> {
    let bad = |size| Candidate {
        condition: Condition::Bad(damaged("the first")),
        ..template(size)
    };
    let named = |key: &str, created| Candidate {
        key: key.into(),
        created,
        ..template(BASE)
    };
    let wanting = |wanted, facts| Facts { wanted, ..facts };
    vec![
        (
            "the smallest that is large enough",
            found([
                template(size(2, 512)),
                template(BASE),
                template(size(1, 1024)),
            ]),
            "1x256",
        ),
        (
            "memory costs more than vCPUs",
            found([template(size(1, 512)), template(size(4, 256))]),
            "4x256",
        ),
        (
            "of two alike the newest",
            found([named("old", 1), named("new", 2)]),
            "new",
        ),
        (
            "a damaged one gives way to the next larger one",
            found([bad(BASE), template(size(1, 512))]),
            "1x512",
        ),
        (
            "one that is large enough is better than one that has to grow",
            wanting(
                size(1, 512),
                found([template(BASE), template(size(4, 1024))]),
            ),
            "4x1024",
        ),
        (
            "one that has to grow is better than a damaged one",
            wanting(size(1, 512), found([template(BASE), bad(size(1, 512))])),
            "1x256+",
        ),
        (
            "damage says more than a mismatch",
            found([
                Candidate {
                    mismatches: vec![mismatch()],
                    ..template(BASE)
                },
                bad(BASE),
            ]),
            "damaged: Template is damaged: the first",
        ),
        (
            "the nearest mismatch is the reason",
            found([
                Candidate {
                    mismatches: vec![mismatch(), mismatch()],
                    ..template(BASE)
                },
                template(size(1, 128)),
            ]),
            "mismatch: Template does not match: memory in MiB: template has 128, wanted 256",
        ),
        (
            "another one that cannot be read keeps none from being restored",
            Facts {
                templates: Templates::Found(vec![
                    Found::Unusable(Unusable::FormatVersion { found: 9 }),
                    Found::Template(template(BASE)),
                ]),
                ..usual()
            },
            "1x256",
        ),
    ]
}

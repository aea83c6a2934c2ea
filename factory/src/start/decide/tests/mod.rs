//! The table of the start decision: every way in which a template can fail (the lines of
//! `docs/fallback.md`), and each combination of size and template.

mod rows;

use std::collections::BTreeSet;

use hypervisors::Capabilities;

use self::rows::{BASE, failed, found, grow, restore, rows, several, size, template, usual};
use super::*;
use crate::start::ReasonLabel;

/// The decision as text: for a restore its template, and `+` if the clone has to grow; for a boot
/// its reason.
fn outcome(plan: &Plan) -> String {
    match &plan.way {
        Way::Restore { key, grow_to: None } => key.clone(),
        Way::Restore { key, .. } => format!("{key}+"),
        Way::Boot { reason } => format!("{}: {reason}", reason.label()),
    }
}

const WANTED: [VmSize; 4] = [BASE, size(2, 256), size(1, 512), size(2, 512)];

/// The size of each template, or that there is none, and the outcome for each of [`WANTED`]: `=` is
/// restored, `+` is restored and grows, `.` is booted.
type Outcomes = [(Option<VmSize>, &'static str); 7];

/// The outcomes for each way in which a VMM can let a clone grow.
const SIZES: [(&str, Outcomes); 4] = [
    (
        "vCPUs and memory",
        [
            (None, "...."),
            (Some(size(1, 128)), "...."),
            (Some(size(1, 256)), "=+++"),
            (Some(size(2, 256)), "==++"),
            (Some(size(1, 512)), "=+=+"),
            (Some(size(2, 512)), "===="),
            (Some(size(4, 1024)), "===="),
        ],
    ),
    (
        "vCPUs",
        [
            (None, "...."),
            (Some(size(1, 128)), "...."),
            (Some(size(1, 256)), "=+.."),
            (Some(size(2, 256)), "==.."),
            (Some(size(1, 512)), "=+=+"),
            (Some(size(2, 512)), "===="),
            (Some(size(4, 1024)), "===="),
        ],
    ),
    (
        "memory",
        [
            (None, "...."),
            (Some(size(1, 128)), "...."),
            (Some(size(1, 256)), "=.+."),
            (Some(size(2, 256)), "==++"),
            (Some(size(1, 512)), "=.=."),
            (Some(size(2, 512)), "===="),
            (Some(size(4, 1024)), "===="),
        ],
    ),
    (
        "fixed",
        [
            (None, "...."),
            (Some(size(1, 128)), "...."),
            (Some(size(1, 256)), "=..."),
            (Some(size(2, 256)), "==.."),
            (Some(size(1, 512)), "=.=."),
            (Some(size(2, 512)), "===="),
            (Some(size(4, 1024)), "===="),
        ],
    ),
];

fn sized(grows: &str, has: Option<VmSize>, wanted: VmSize) -> Facts {
    let facts = found(has.map(template));
    Facts {
        wanted,
        may_grow: grows != "fixed",
        can: Capabilities {
            vcpu_hotplug: grows != "memory",
            memory_hotplug_beside_file: grows != "vCPUs",
            ..facts.can
        },
        ..facts
    }
}

#[test]
fn the_table_of_the_decision() {
    let mut seen = BTreeSet::new();
    let mut count = 0;
    for (name, facts, expected) in rows().into_iter().chain(several()) {
        let plan = decide(&facts);
        assert_eq!(outcome(&plan), expected, "{name}");
        seen.insert(label(&plan));
        count += 1;
    }
    for (grows, templates) in SIZES {
        for (has, expected) in templates {
            for (wanted, expected) in WANTED.into_iter().zip(expected.chars()) {
                let name = format!("{grows} can grow, template {has:?}, wanted {wanted}");
                let plan = decide(&sized(grows, has, wanted));
                let (way, handed_out) = match &plan.way {
                    Way::Restore { grow_to: None, .. } => ('=', has.unwrap()),
                    Way::Restore {
                        grow_to: Some(to), ..
                    } => {
                        assert!(*to > has.unwrap(), "{name}");
                        ('+', has.unwrap().or(wanted))
                    }
                    Way::Boot { .. } => ('.', wanted),
                };
                assert_eq!((way, plan.size), (expected, handed_out), "{name}");
                assert!(plan.size.covers(wanted), "{name}");
                seen.insert(label(&plan));
                count += 1;
            }
        }
    }
    eprintln!("{count} rows");
    let all: BTreeSet<_> = ReasonLabel::ALL.iter().copied().collect();
    let missing: Vec<_> = all.difference(&seen).collect();
    assert!(missing.is_empty(), "no row ends with {missing:?}");
}

fn label(plan: &Plan) -> ReasonLabel {
    match &plan.way {
        Way::Restore { .. } => ReasonLabel::Match,
        Way::Boot { reason } => reason.label(),
    }
}

#[test]
fn a_boot_after_a_failed_way_names_its_template() {
    for way in [restore, grow] {
        let plan = decide(&failed(way, "no"));
        let Way::Boot { reason } = &plan.way else {
            panic!("{plan:?}")
        };
        assert_eq!(reason.template_key(), Some("1x256"));
        assert_eq!(plan.size, BASE);
    }
}

#[test]
fn the_first_image_is_in_a_slot_from_the_start_if_it_is_known_and_has_room() {
    let table = [
        // slots, bytes of the image
        (4, None, FirstDisk::Later),
        (4, Some(0), FirstDisk::InSlot),
        (1, Some(1 << 20), FirstDisk::InSlot),
        (4, Some((1 << 20) + 1), FirstDisk::Later),
        (0, Some(1), FirstDisk::Later),
    ];
    for (slots, first_image, expected) in table {
        for facts in [usual(), failed(restore, "no")] {
            let plan = decide(&Facts {
                slots,
                first_image,
                ..facts
            });
            assert_eq!(plan.first_disk, expected, "{slots} slots, {first_image:?}");
        }
    }
}

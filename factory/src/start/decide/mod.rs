//! Decides how a VM starts. Nothing here reads, waits or changes anything.
//!
//! ```text
//!   templates off ----------------------------------------------> boot: disabled
//!   VMM cannot restore -----------------------------------------> boot: not-supported
//!   a kernel or binary cannot be read --------------------------> boot: unknown
//!   a good template, at least as large as wanted ---------------> restore the smallest
//!   a good one of the configured size, and the VM can grow -----> restore the smallest, grow
//!   none of these ----------------------------------------------> boot: why the best is not used
//!   any of these, after a way that failed ----------------------> boot: why that failed
//! ```

#[cfg(test)]
mod tests;

use std::cmp::Reverse;

use hypervisors::VmSize;

use super::{
    facts::{Candidate, Condition, Facts, Found, Templates},
    plan::{FirstDisk, Plan, Way},
    reason::BootReason,
};
use crate::{identity::size_mismatches, unusable::Unusable};

/// Decides how the VM that `facts` are about starts.
#[must_use]
pub fn decide(facts: &Facts) -> Plan {
    let way = way(facts);
    let size = match &way {
        Choice::Restore(candidate, grow_to) => grow_to.unwrap_or(candidate.size),
        Choice::Boot(_) => facts.wanted,
    };
    Plan {
        size,
        first_disk: first_disk(facts),
        way: match way {
            Choice::Restore(candidate, grow_to) => Way::Restore {
                key: candidate.key.clone(),
                grow_to,
            },
            Choice::Boot(reason) => Way::Boot { reason },
        },
    }
}

enum Choice<'a> {
    Restore(&'a Candidate, Option<VmSize>),
    Boot(BootReason),
}

fn way(facts: &Facts) -> Choice<'_> {
    if let Some(failed) = facts.failed.last() {
        return Choice::Boot(failed.clone().into());
    }
    if !facts.templates_enabled {
        return Choice::Boot(BootReason::Disabled);
    }
    if !facts.can.private_file_restore {
        return Choice::Boot(BootReason::NotSupported { vmm: facts.vmm });
    }
    match &facts.templates {
        Templates::Unknown { path, why } => Choice::Boot(BootReason::Unknown {
            path: path.clone(),
            why: why.clone(),
        }),
        Templates::NotSearched => Choice::Boot(BootReason::NoTemplate(absent(facts))),
        Templates::Found(found) => restore_or_not(facts, found),
    }
}

fn restore_or_not<'a>(facts: &Facts, found: &'a [Found]) -> Choice<'a> {
    let mut bad = None;
    for (index, grow_to) in preference(facts, found) {
        let Found::Template(candidate) = &found[index] else {
            continue;
        };
        match &candidate.condition {
            Condition::Good => return Choice::Restore(candidate, grow_to),
            Condition::Bad(why) => bad = bad.or(Some(why)),
            Condition::Unchecked => {}
        }
    }
    // A template that matches and is damaged says more than one that does not match.
    let reason = bad.cloned().or_else(|| nearest(facts, found));
    Choice::Boot(BootReason::NoTemplate(
        reason.unwrap_or_else(|| absent(facts)),
    ))
}

/// The templates that can be used if they are good, the best one first: each by its index in
/// `found`, with the size that its clone has to grow to. The smallest of those that are large
/// enough is the best, and of two equal ones the newest. Templates whose clone has to grow come
/// last.
pub(super) fn preference(facts: &Facts, found: &[Found]) -> Vec<(usize, Option<VmSize>)> {
    let mut usable: Vec<_> = found
        .iter()
        .enumerate()
        .filter_map(|(index, found)| match found {
            Found::Template(candidate) => Some((index, candidate)),
            Found::Unusable(_) => None,
        })
        .filter_map(|(index, candidate)| {
            let grow_to = growth(facts, candidate)?;
            Some((index, grow_to, candidate))
        })
        .collect();
    usable.sort_by_key(|(_, grow_to, candidate)| {
        let sizes = (candidate.size, candidate.max_size);
        (grow_to.is_some(), sizes, Reverse(candidate.created))
    });
    let usable = usable.into_iter();
    usable.map(|(index, grow_to, _)| (index, grow_to)).collect()
}

/// The size that a clone of this template has to grow to: `Some(None)` if it is large enough,
/// `None` if the template cannot be used.
fn growth(facts: &Facts, candidate: &Candidate) -> Option<Option<VmSize>> {
    let (size, wanted) = (candidate.size, facts.wanted);
    if !candidate.mismatches.is_empty() || !candidate.max_size.covers(facts.max) {
        return None;
    }
    if size.covers(wanted) {
        return Some(None);
    }
    let grows = facts.may_grow
        && (size.vcpus >= wanted.vcpus || facts.can.vcpu_hotplug)
        && (size.memory_mib >= wanted.memory_mib || facts.can.memory_hotplug_beside_file);
    (grows && size.covers(facts.base)).then(|| Some(size.or(wanted)))
}

/// Why the template that differs least from what is wanted cannot be used.
fn nearest(facts: &Facts, found: &[Found]) -> Option<Unusable> {
    let reasons = found.iter().filter_map(|found| match found {
        Found::Unusable(reason) => Some((0, reason.clone())),
        Found::Template(candidate) if growth(facts, candidate).is_some() => None,
        Found::Template(candidate) => {
            let mut fields = candidate.mismatches.clone();
            let has = (candidate.size, candidate.max_size);
            fields.extend(size_mismatches(has, (facts.wanted, facts.max)));
            Some((fields.len(), Unusable::Mismatch { fields }))
        }
    });
    let nearest = reasons.min_by_key(|(differences, _)| *differences);
    nearest.map(|(_, reason)| reason)
}

fn absent(facts: &Facts) -> Unusable {
    Unusable::Absent {
        path: facts.template_path.clone(),
    }
}

fn first_disk(facts: &Facts) -> FirstDisk {
    match facts.first_image {
        Some(bytes) if facts.slots > 0 && bytes <= facts.slot_bytes => FirstDisk::InSlot,
        _ => FirstDisk::Later,
    }
}

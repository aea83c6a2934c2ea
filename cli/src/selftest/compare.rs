//! What of two clones must differ, what may not, and what is known to be alike.

use std::collections::BTreeSet;

use serde::Serialize;

use super::clone::{Clone, Identity};

/// How far a guest's clock may be from the host's, in seconds.
const CLOCK: f64 = 1.0;
/// Longest text of a guest that is shown.
const SHOWN: usize = 80;

/// What a comparison says.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Verdict {
    /// As it must be.
    Good,
    /// Worth knowing, and no fault.
    Note,
    /// Clones share what they must not, or it is not known.
    Problem,
}

/// One property of two clones, compared.
#[derive(Debug, Serialize)]
pub(crate) struct Row {
    pub(crate) what: &'static str,
    pub(crate) verdict: Verdict,
    pub(crate) says: String,
    pub(crate) values: [String; 2],
}

/// All comparisons of two clones.
pub(crate) fn compare(one: &Clone, other: &Clone) -> Vec<Row> {
    let mut rows = vec![differs("agent's channel", &one.channel, &other.channel)];
    rows.push(generation(one, other));
    let (Some(a), Some(b)) = (&one.identity, &other.identity) else {
        rows.push(Row {
            what: "the guests' own view",
            verdict: Verdict::Problem,
            says: "unknown: the guest's agent is not the embedded one".into(),
            values: [String::new(), String::new()],
        });
        return rows;
    };
    rows.extend(identities(a, b));
    rows.push(clock((a, one.asked), (b, other.asked)));
    rows
}

fn identities(a: &Identity, b: &Identity) -> Vec<Row> {
    vec![
        differs("random numbers", &a.random, &b.random),
        streams(&a.uuids, &b.uuids),
        vmm_random(&a.vmm_random, &b.vmm_random),
        differs("agent's own uuid", &a.agent_uuid, &b.agent_uuid),
        differs("boot id", &a.boot_id, &b.boot_id),
        differs("machine id", &a.machine_id, &b.machine_id),
        differs("host name", &a.hostname, &b.hostname),
        mac_addresses(a, b),
        shared(
            "seeds of the agent's hash tables",
            &a.agent_hash_seed,
            &b.agent_hash_seed,
        ),
        shared(
            "place of the agent in memory",
            &a.agent_layout,
            &b.agent_layout,
        ),
    ]
}

fn differs(what: &'static str, one: &str, other: &str) -> Row {
    let (verdict, says) = match (one.is_empty() || other.is_empty(), one == other) {
        (true, _) => (Verdict::Problem, "unknown"),
        (_, true) => (Verdict::Problem, "THE SAME"),
        (_, false) => (Verdict::Good, "differs"),
    };
    row(what, verdict, says, one, other)
}

/// What a clone has from its template and keeps.
fn shared(what: &'static str, one: &str, other: &str) -> Row {
    let says = if one == other {
        "the same in all clones of a template, which is known and said"
    } else {
        "differs"
    };
    row(what, Verdict::Note, says, one, other)
}

fn streams(one: &[String], other: &[String]) -> Row {
    let all: BTreeSet<&String> = one.iter().chain(other).collect();
    let (verdict, says) = if one.is_empty() || other.is_empty() {
        (Verdict::Problem, "unknown")
    } else if all.len() == one.len() + other.len() {
        (Verdict::Good, "no number comes twice")
    } else {
        (Verdict::Problem, "NUMBERS COME TWICE")
    };
    let said = format!("{says} ({} drawn)", one.len() + other.len());
    row(
        "uuids of the kernel",
        verdict,
        &said,
        &one.join(" "),
        &other.join(" "),
    )
}

/// A guest without the device, and one whose VMM has not answered yet, have none.
fn vmm_random(one: &str, other: &str) -> Row {
    let what = "random numbers of the VMM";
    if one.is_empty() || other.is_empty() {
        return row(what, Verdict::Note, "none at hand", one, other);
    }
    differs(what, one, other)
}

fn mac_addresses(a: &Identity, b: &Identity) -> Row {
    let list = |of: &Identity| of.mac_addresses.values().cloned().collect::<Vec<_>>();
    let (one, other) = (list(a), list(b));
    let (verdict, says) = match (
        one.is_empty() && other.is_empty(),
        one.iter().any(|mac| other.contains(mac)),
    ) {
        (true, _) => (
            Verdict::Good,
            "none: no VM of this configuration has an interface",
        ),
        (_, true) => (Verdict::Problem, "THE SAME"),
        (_, false) => (Verdict::Good, "differs"),
    };
    row(
        "MAC addresses",
        verdict,
        says,
        &one.join(" "),
        &other.join(" "),
    )
}

fn clock(one: (&Identity, (f64, f64)), other: (&Identity, (f64, f64))) -> Row {
    // By how much a clock is outside of the time in which it was asked.
    let off = |(identity, (before, after)): (&Identity, (f64, f64))| {
        let seconds = identity.clock_seconds;
        if seconds < before {
            before - seconds
        } else {
            (seconds - after).max(0.0)
        }
    };
    let (a, b) = (off(one), off(other));
    let (verdict, says) = if a <= CLOCK && b <= CLOCK {
        (Verdict::Good, "the host's")
    } else {
        (Verdict::Problem, "NOT THE HOST'S")
    };
    let show = |off: f64| format!("at most {off:.3} s off");
    row("clock", verdict, says, &show(a), &show(b))
}

fn generation(one: &Clone, other: &Clone) -> Row {
    let hears = |of: &Clone| of.identity.as_ref().is_some_and(|i| i.generation_id_driver);
    let values = [one, other].map(|of| of.generation_id.clone().unwrap_or_default());
    let [a, b] = &values;
    let (verdict, says) = match (a.is_empty() || b.is_empty(), a == b) {
        (true, _) => (Verdict::Note, "this VMM has none"),
        (_, true) => (Verdict::Problem, "THE SAME"),
        _ if hears(one) && hears(other) => (Verdict::Good, "differs, and the kernel listens to it"),
        _ => (
            Verdict::Good,
            "differs; this kernel has no driver for it, the agent reseeds alone",
        ),
    };
    row("generation id (VMGENID)", verdict, says, a, b)
}

fn row(what: &'static str, verdict: Verdict, says: &str, one: &str, other: &str) -> Row {
    let shown = |text: &str| {
        let cut: String = text.chars().take(SHOWN).collect();
        let dots = if cut.len() < text.len() { "..." } else { "" };
        format!("{}{dots}", cut.escape_debug())
    };
    Row {
        what,
        verdict,
        says: says.to_owned(),
        values: [shown(one), shown(other)],
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn identity(n: u32) -> Identity {
        Identity {
            boot_id: format!("boot-{n}"),
            machine_id: format!("machine-{n}"),
            hostname: format!("host-{n}"),
            uuids: vec![format!("{n}-1"), format!("{n}-2")],
            random: format!("random-{n}"),
            agent_uuid: format!("agent-{n}"),
            agent_hash_seed: "seed".into(),
            agent_layout: "7f00".into(),
            clock_seconds: 100.0,
            vmm_random: format!("vmm-{n}"),
            ..Default::default()
        }
    }

    fn problems(a: &Identity, b: &Identity) -> Vec<&'static str> {
        let rows = identities(a, b).into_iter();
        rows.filter(|row| row.verdict == Verdict::Problem)
            .map(|row| row.what)
            .collect()
    }

    #[test]
    fn each_thing_that_clones_share_is_named() {
        assert_eq!(problems(&identity(1), &identity(2)), [""; 0]);
        type Change = fn(&mut Identity);
        let changes: [(&str, Change); 8] = [
            ("random numbers", |i| i.random = "random-2".into()),
            ("uuids of the kernel", |i| i.uuids[0] = "2-2".into()),
            ("random numbers of the VMM", |i| {
                i.vmm_random = "vmm-2".into();
            }),
            ("agent's own uuid", |i| i.agent_uuid = "agent-2".into()),
            ("boot id", |i| i.boot_id = "boot-2".into()),
            ("machine id", |i| i.machine_id.clear()),
            ("host name", |i| i.hostname = "host-2".into()),
            ("MAC addresses", |i| {
                drop(i.mac_addresses.insert("eth0".into(), "02:00".into()))
            }),
        ];
        let mut second = identity(2);
        second.mac_addresses.insert("eth1".into(), "02:00".into());
        for (what, change) in changes {
            let mut first = identity(1);
            change(&mut first);
            assert_eq!(problems(&first, &second), [what]);
        }
    }

    #[test]
    fn a_clock_is_compared_with_the_time_in_which_it_was_asked() {
        let told = |clock_seconds| Identity {
            clock_seconds,
            ..identity(1)
        };
        for (seconds, verdict) in [
            (100.0, Verdict::Good),
            (98.5, Verdict::Good),
            (103.0, Verdict::Good),
            (97.5, Verdict::Problem),
            (104.5, Verdict::Problem),
        ] {
            let one = told(seconds);
            let row = clock((&one, (99.0, 103.0)), (&told(100.0), (99.0, 101.0)));
            assert_eq!(row.verdict, verdict, "{seconds}");
        }
    }

    #[test]
    fn a_guests_text_is_cut_and_escaped() {
        let row = differs("boot id", &"x\u{1b}[2J".repeat(50), "b");
        assert!(row.values[0].contains("\\u{1b}[2J"), "{:?}", row.values);
        assert!(row.values[0].ends_with("..."));
    }
}

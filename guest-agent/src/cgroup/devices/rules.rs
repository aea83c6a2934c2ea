//! Device rules, as the OCI specification has them: the last rule that matches decides.

use std::collections::HashMap;

use agent_client::oci::{LinuxDevice, LinuxDeviceCgroup};

use crate::error::{Error, Result};

/// Most rules of one container. The kernel would take thousands.
const MAX_RULES: usize = 256;

/// What may be done with a device, as bits (`BPF_DEVCG_ACC_*`, linux/bpf.h).
pub(super) const MAKE_NODE: u32 = 1;
pub(super) const READ: u32 = 2;
pub(super) const WRITE: u32 = 4;
pub(super) const ALL: u32 = MAKE_NODE | READ | WRITE;

/// The character devices that every container may use, as with runc: null, zero, full, random,
/// urandom, tty, console, ptmx, tun, and the container's own terminals. Major and minor number.
const DEFAULT_DEVICES: [(u32, Option<u32>); 10] = [
    (1, Some(3)),
    (1, Some(5)),
    (1, Some(7)),
    (1, Some(8)),
    (1, Some(9)),
    (5, Some(0)),
    (5, Some(1)),
    (5, Some(2)),
    (10, Some(200)),
    (136, None),
];

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    Block,
    Character,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Rule {
    pub(super) allow: bool,
    pub(super) kind: Kind,
    /// `None` matches any number.
    pub(super) major: Option<u32>,
    pub(super) minor: Option<u32>,
    /// The bits of access that the rule is about.
    pub(super) access: u32,
}

/// The device rules of one container, in their order.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct DeviceRules {
    /// Whether access is allowed that no rule matches.
    pub(super) allow: bool,
    pub(super) list: Vec<Rule>,
}

impl DeviceRules {
    /// The rules `wanted` by a specification, followed by those for the default devices and for the
    /// container's disks.
    ///
    /// `nodes` are the devices of the specification. `disks` are those of them that are disks of
    /// this guest: path in the container to major and minor number. The specification's numbers of
    /// block devices are the host's, so its rules for them are translated by way of the nodes.
    ///
    /// # Errors
    ///
    /// When there are more than 256 rules, or one has an unknown type or access.
    pub fn new(
        wanted: &[LinuxDeviceCgroup],
        nodes: &[LinuxDevice],
        disks: &HashMap<String, (u64, u64)>,
    ) -> Result<Self> {
        if wanted.len() + disks.len() > MAX_RULES {
            return Err(Error::Invalid(format!(
                "linux.resources.devices has more than {MAX_RULES} rules, those for disks included"
            )));
        }
        let mut rules = Self::default();
        for one in wanted {
            rules.add(one)?;
        }
        if rules.allow_everything() {
            return Ok(rules);
        }
        rules.add_defaults();
        for (path, numbers) in disks {
            rules.add_disk(*numbers, disk_access(path, wanted, nodes)?);
        }
        rules.remove_covered();
        Ok(rules)
    }

    /// The rules of a container whose specification has none.
    pub(super) fn default_rules() -> Self {
        let mut rules = Self::default();
        rules.add_defaults();
        rules.remove_covered();
        rules
    }

    /// Whether nothing is forbidden.
    pub(super) fn allow_everything(&self) -> bool {
        self.allow && self.list.is_empty()
    }

    fn add(&mut self, wanted: &LinuxDeviceCgroup) -> Result<()> {
        let number = |number: i64| u32::try_from(number).ok();
        let (major, minor) = (number(wanted.Major), number(wanted.Minor));
        let kind = match wanted.Type.as_str() {
            "" | "a" => {
                *self = Self {
                    allow: wanted.Allow,
                    list: Vec::new(),
                };
                return Ok(());
            }
            // The host's numbers; `add_disk` has the guest's.
            "b" if major.is_some() || minor.is_some() => return Ok(()),
            "b" => Kind::Block,
            "c" => Kind::Character,
            other => {
                return Err(Error::Invalid(format!(
                    "linux.resources.devices has the unknown type {other:?}"
                )));
            }
        };
        self.list.push(Rule {
            allow: wanted.Allow,
            kind,
            major,
            minor,
            access: access(&wanted.Access)?,
        });
        Ok(())
    }

    /// Any node may be made; the default devices may be used.
    fn add_defaults(&mut self) {
        let allow = |kind, major, minor, access| Rule {
            allow: true,
            kind,
            major,
            minor,
            access,
        };
        self.list.extend([
            allow(Kind::Character, None, None, MAKE_NODE),
            allow(Kind::Block, None, None, MAKE_NODE),
        ]);
        let devices =
            DEFAULT_DEVICES.map(|(major, minor)| allow(Kind::Character, Some(major), minor, ALL));
        self.list.extend(devices);
    }

    fn add_disk(&mut self, (major, minor): (u64, u64), access: u32) {
        self.list.push(Rule {
            allow: true,
            kind: Kind::Block,
            major: u32::try_from(major).ok(),
            minor: u32::try_from(minor).ok(),
            access,
        });
    }

    /// Removes the rules that a later rule covers: they decide nothing. What most specifications
    /// ask for is covered by the defaults, and results in the default program.
    fn remove_covered(&mut self) {
        let list = std::mem::take(&mut self.list);
        let decides = |(position, rule): &(usize, &Rule)| {
            !list[position + 1..].iter().any(|later| later.covers(rule))
        };
        let remaining = list.iter().enumerate().filter(decides);
        self.list = remaining.map(|(_, rule)| *rule).collect();
    }
}

impl Rule {
    fn covers(&self, other: &Self) -> bool {
        let number = |one: Option<u32>, other| one.is_none() || one == other;
        self.kind == other.kind
            && number(self.major, other.major)
            && number(self.minor, other.minor)
            && other.access & !self.access == 0
    }
}

/// The access that the specification allows to the disk at `path` in the container.
fn disk_access(path: &str, wanted: &[LinuxDeviceCgroup], nodes: &[LinuxDevice]) -> Result<u32> {
    let node = nodes.iter().find(|node| node.Path == path);
    let rule = node.and_then(|node| {
        wanted
            .iter()
            .find(|rule| rule.Type == "b" && (rule.Major, rule.Minor) == (node.Major, node.Minor))
    });
    rule.map_or(Ok(ALL), |rule| access(&rule.Access))
}

fn access(letters: &str) -> Result<u32> {
    letters.chars().try_fold(0, |all, letter| match letter {
        'r' => Ok(all | READ),
        'w' => Ok(all | WRITE),
        'm' => Ok(all | MAKE_NODE),
        _ => Err(Error::Invalid(format!(
            "linux.resources.devices has the access {letter:?}, which is not one of r, w and m"
        ))),
    })
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    pub fn rule(
        allow: bool,
        kind: &str,
        major: i64,
        minor: i64,
        access: &str,
    ) -> LinuxDeviceCgroup {
        LinuxDeviceCgroup {
            Allow: allow,
            Type: kind.into(),
            Major: major,
            Minor: minor,
            Access: access.into(),
            ..Default::default()
        }
    }

    pub fn rules(wanted: &[LinuxDeviceCgroup]) -> DeviceRules {
        DeviceRules::new(wanted, &[], &HashMap::new()).unwrap()
    }

    #[test]
    fn rules_that_decide_nothing_are_removed() {
        // As ctr has them.
        let usual = rules(&[]);
        let given = rules(&[
            rule(false, "a", -1, -1, "rwm"),
            rule(true, "c", 1, 3, "rwm"),
            rule(true, "c", 136, -1, "rwm"),
            rule(true, "c", 136, 5, "rw"),
            rule(true, "c", 5, 2, "rwm"),
            rule(false, "c", 1, 3, "w"),
            rule(true, "c", -1, -1, "m"),
        ]);
        assert_eq!(given, usual);
        assert_ne!(rules(&[rule(true, "c", -1, -1, "r")]), usual);
        assert_ne!(
            rules(&[
                rule(true, "c", 136, -1, "rw"),
                rule(true, "c", 10, 229, "rw")
            ]),
            usual
        );
    }

    #[test]
    fn unknown_words_and_too_many_rules_are_refused() {
        for wanted in [rule(true, "x", 1, 1, "r"), rule(true, "c", 1, 1, "rx")] {
            assert!(DeviceRules::new(&[wanted], &[], &HashMap::new()).is_err());
        }
        let many = vec![rule(true, "c", 1, 1, "r"); MAX_RULES + 1];
        assert!(DeviceRules::new(&many, &[], &HashMap::new()).is_err());
    }
}

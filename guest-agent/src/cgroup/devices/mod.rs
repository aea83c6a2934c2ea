//! Which devices a container's processes may open and make nodes of, whatever nodes they have: a rule for
//! each, the last one that fits decides. Enforced by a program of its group ([`program`]).

mod program;

use std::{
    collections::HashMap,
    fs::{self, File},
    io::Write,
    os::fd::{AsFd, OwnedFd},
    path::Path,
    sync::OnceLock,
};

use agent_client::oci::{LinuxDevice, LinuxDeviceCgroup};

use super::{Group, ROOT};
use crate::{
    error::{Doing, Error, Result},
    raw,
};

/// Rules of one container. The kernel takes thousands; nobody writes them.
const MOST: usize = 256;

/// What may be done with a device, as bits (Linux, include/uapi/linux/bpf.h, `BPF_DEVCG_ACC_*`).
const MAKE_NODE: u32 = 1;
const READ: u32 = 2;
const WRITE: u32 = 4;
const ALL: u32 = MAKE_NODE | READ | WRITE;

/// What every container may use, as with runc: null, zero, full, random, urandom, tty, console, ptmx,
/// tun and its own terminals.
const EVERYBODYS: [(u32, Option<u32>); 10] = [
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

/// The program for containers that have nothing of their own, made before there is one.
static USUAL: OnceLock<OwnedFd> = OnceLock::new();
/// A group that is held to it: for the kernel to be set up for such programs, and for those processes of
/// the agent's that containers can reach.
const PREPARED: &str = "imprint-devices";
/// There is such a group.
static IS_PREPARED: OnceLock<()> = OnceLock::new();
/// What its processes may have together. One keeper of a process namespace takes two to be made.
const LIMITS: [(&str, &str); 2] = [("pids.max", "8"), ("memory.max", "33554432")];

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Block,
    Character,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Rule {
    allow: bool,
    kind: Kind,
    /// None is any.
    major: Option<u32>,
    minor: Option<u32>,
    access: u32,
}

/// The rules of one container, in the order in which they were given.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Rules {
    /// For what no rule fits.
    allow: bool,
    list: Vec<Rule>,
}

impl Rules {
    /// Those of a specification, after nothing was allowed and before what everybody may. `nodes` are the
    /// specification's devices and `disks` the numbers here of those that are block devices, by path:
    /// a rule for a block device names it by its number elsewhere.
    ///
    /// # Errors
    ///
    /// When they are too many, or one is of no known form.
    pub fn new(
        wanted: &[LinuxDeviceCgroup],
        nodes: &[LinuxDevice],
        disks: &HashMap<String, (u64, u64)>,
    ) -> Result<Self> {
        if wanted.len() + disks.len() > MOST {
            return Err(Error::Invalid(format!(
                "linux.resources.devices has more than {MOST} rules, those for disks among them"
            )));
        }
        let mut rules = Self::default();
        for one in wanted {
            rules.add(one)?;
        }
        if rules.allow && rules.list.is_empty() {
            return Ok(rules);
        }
        let make_any = |kind| (kind, None, None, MAKE_NODE);
        let everybodys =
            EVERYBODYS.map(|(major, minor)| (Kind::Character, Some(major), minor, ALL));
        let given = [make_any(Kind::Character), make_any(Kind::Block)]
            .into_iter()
            .chain(everybodys);
        rules
            .list
            .extend(given.map(|(kind, major, minor, access)| Rule {
                allow: true,
                kind,
                major,
                minor,
                access,
            }));
        for (path, numbers) in disks {
            let node = nodes.iter().find(|node| node.Path == *path);
            let rule = node.and_then(|node| {
                wanted.iter().find(|rule| {
                    rule.Type == "b" && (rule.Major, rule.Minor) == (node.Major, node.Minor)
                })
            });
            let number = |number: u64| u32::try_from(number).ok();
            rules.list.push(Rule {
                allow: true,
                kind: Kind::Block,
                major: number(numbers.0),
                minor: number(numbers.1),
                access: rule.map_or(Ok(ALL), |rule| access(&rule.Access))?,
            });
        }
        rules.simplify();
        Ok(rules)
    }

    /// Drops rules that decide nothing, since a later one is about all that they are about. What most
    /// containers are given is among what everybody may, and comes to the same program.
    fn simplify(&mut self) {
        let list = std::mem::take(&mut self.list);
        let counts = |(position, rule): &(usize, &Rule)| {
            !list[position + 1..].iter().any(|later| later.covers(rule))
        };
        let kept = list.iter().enumerate().filter(counts);
        self.list = kept.map(|(_, rule)| *rule).collect();
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
            // Of a number elsewhere: see below for those that are here.
            "b" if major.is_some() || minor.is_some() => return Ok(()),
            "b" => Kind::Block,
            "c" => Kind::Character,
            other => {
                return Err(Error::Invalid(format!(
                    "linux.resources.devices has the type {other:?}, which no device has"
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

fn access(words: &str) -> Result<u32> {
    words.chars().try_fold(0, |all, one| match one {
        'r' => Ok(all | READ),
        'w' => Ok(all | WRITE),
        'm' => Ok(all | MAKE_NODE),
        _ => Err(Error::Invalid(format!(
            "linux.resources.devices has the access {one:?}, which is none of r, w and m"
        ))),
    })
}

/// Prepares the rules of a container that has nothing of its own. A template is saved after that, so a
/// clone's first container need not wait for the kernel to look through the program.
///
/// # Errors
///
/// When the kernel refuses.
pub fn prepare() -> Result<()> {
    if !is_enforced() {
        return Ok(());
    }
    let rules = Rules::new(&[], &[], &HashMap::new())?;
    let _is_made_once = USUAL.set(load(&rules)?);
    let group = Group::new(format!("/{PREPARED}"));
    // What an agent before left would keep that one's program beside this one's.
    let _not_there = fs::remove_dir(&group.directory);
    fs::create_dir_all(&group.directory).on("create", &group.directory)?;
    group.hold_to(&rules)?;
    group.limit()?;
    let _is_so_once = IS_PREPARED.set(());
    Ok(())
}

/// A hierarchy of version 1 has none of this.
fn is_enforced() -> bool {
    has_rules(Path::new(ROOT))
}

fn has_rules(root: &Path) -> bool {
    root.join("cgroup.controllers").exists()
}

/// Whether a process of the agent's that containers can reach can be confined.
///
/// # Errors
///
/// When it cannot although device rules are enforced.
pub fn check_confinement() -> Result<()> {
    if is_enforced() && IS_PREPARED.get().is_none() {
        return Err(Error::State(
            "The agent has no group with device rules for its own processes; its log says why"
                .into(),
        ));
    }
    Ok(())
}

/// Puts this process, and what it starts later, into the prepared group. Where no device rules are
/// enforced, nothing is done.
///
/// # Errors
///
/// When the kernel refuses.
pub fn confine() -> Result<()> {
    enter_below(Path::new(ROOT))
}

fn enter_below(root: &Path) -> Result<()> {
    if !has_rules(root) {
        return Ok(());
    }
    let processes = root.join(PREPARED).join("cgroup.procs");
    // It is there, or this is no group: never to be created.
    let group = File::options().write(true).open(&processes);
    let entered = group.and_then(|mut group| group.write_all(b"0"));
    entered.on("enter the group of", &processes)
}

fn load(rules: &Rules) -> Result<OwnedFd> {
    raw::load_device_program(&program::instructions(rules))
        .doing(|| "load device rules (the guest's kernel needs CONFIG_CGROUP_BPF)".into())
}

impl Group {
    /// Has the kernel hold its processes to `rules`.
    ///
    /// # Errors
    ///
    /// When the kernel refuses.
    pub fn hold_to(&self, rules: &Rules) -> Result<()> {
        let everything = rules.allow && rules.list.is_empty();
        if everything || !is_enforced() {
            return Ok(());
        }
        let usual = USUAL
            .get()
            .filter(|_| Rules::new(&[], &[], &HashMap::new()).is_ok_and(|usual| usual == *rules));
        match usual {
            Some(program) => self.attach(program),
            None => self.attach(&load(rules)?),
        }
    }

    /// A controller that the kernel does not have limits nothing.
    fn limit(&self) -> Result<()> {
        let there = |(file, _): &&(&str, &str)| self.directory.join(file).exists();
        let mut limits = LIMITS.iter().filter(there);
        limits.try_for_each(|(file, most)| self.write(file, most))
    }

    fn attach(&self, program: &OwnedFd) -> Result<()> {
        let group = File::open(&self.directory).on("open", &self.directory)?;
        raw::attach_device_program(program.as_fd(), group.as_fd())
            .on("attach device rules to", &self.directory)
    }
}

#[cfg(test)]
mod tests;

//! Which devices a container's processes may open and make nodes of, whatever nodes they have.
//!
//! The kernel asks a BPF program that is attached to the container's cgroup. [`DeviceRules`] are
//! what the program is made of.

mod program;
mod rules;

use std::{
    fs::{self, File},
    io::Write,
    os::fd::{AsFd, OwnedFd},
    path::Path,
    sync::OnceLock,
};

pub use self::rules::DeviceRules;
use super::{Group, ROOT};
use crate::{
    error::{Doing, Error, Result},
    syscalls,
};

/// The loaded program of containers without rules of their own.
static DEFAULT_PROGRAM: OnceLock<OwnedFd> = OnceLock::new();
/// The cgroup of those of the agent's processes that containers can reach. It has the default
/// program, so that the kernel is set up for such programs before the first container.
const CONFINED: &str = "imprint-devices";
/// Set when that cgroup is there.
static IS_PREPARED: OnceLock<()> = OnceLock::new();
/// Limits of that cgroup. Making one process 1 of a pid namespace takes two processes.
const LIMITS: [(&str, &str); 2] = [("pids.max", "8"), ("memory.max", "33554432")];

/// Loads the default program and makes the cgroup for the agent's own processes.
///
/// This is done before a template is saved, so the first container of a clone need not wait until
/// the kernel has verified the program.
///
/// # Errors
///
/// When the kernel refuses.
pub fn prepare() -> Result<()> {
    if !is_enforced(Path::new(ROOT)) {
        return Ok(());
    }
    let rules = DeviceRules::default_rules();
    let _loaded_once = DEFAULT_PROGRAM.set(load(&rules)?);
    let group = Group::new(format!("/{CONFINED}"));
    // That of an earlier agent would keep its program beside the new one.
    let _not_there = fs::remove_dir(&group.directory);
    fs::create_dir_all(&group.directory).on("create", &group.directory)?;
    group.apply_device_rules(&rules)?;
    group.limit()?;
    let _prepared_once = IS_PREPARED.set(());
    Ok(())
}

/// Device rules need a hierarchy of version 2.
fn is_enforced(root: &Path) -> bool {
    root.join("cgroup.controllers").exists()
}

/// Checks that [`confine`] can work.
///
/// # Errors
///
/// When device rules are enforced and [`prepare`] has failed.
pub fn check_confinement() -> Result<()> {
    if is_enforced(Path::new(ROOT)) && IS_PREPARED.get().is_none() {
        return Err(Error::State(
            "The cgroup for the agent's own processes is missing; the agent's log has the cause"
                .into(),
        ));
    }
    Ok(())
}

/// Moves this process, and so its later children, into the cgroup that [`prepare`] has made. Does
/// nothing where device rules are not enforced.
///
/// # Errors
///
/// When the kernel refuses.
pub fn confine() -> Result<()> {
    enter_confined(Path::new(ROOT))
}

fn enter_confined(root: &Path) -> Result<()> {
    if !is_enforced(root) {
        return Ok(());
    }
    let processes = root.join(CONFINED).join("cgroup.procs");
    // Never created: where it is missing, the directory is not a cgroup.
    let file = File::options().write(true).open(&processes);
    let entered = file.and_then(|mut file| file.write_all(b"0"));
    entered.on("enter the cgroup of", &processes)
}

fn load(rules: &DeviceRules) -> Result<OwnedFd> {
    syscalls::load_device_program(&program::instructions(rules))
        .doing(|| "load device rules (the guest's kernel needs CONFIG_CGROUP_BPF)".into())
}

impl Group {
    /// Makes the kernel enforce `rules` for all processes of the group.
    ///
    /// # Errors
    ///
    /// When the kernel refuses.
    pub fn apply_device_rules(&self, rules: &DeviceRules) -> Result<()> {
        if rules.allow_everything() || !is_enforced(Path::new(ROOT)) {
            return Ok(());
        }
        match DEFAULT_PROGRAM.get() {
            Some(program) if *rules == DeviceRules::default_rules() => self.attach(program),
            _ => self.attach(&load(rules)?),
        }
    }

    /// Sets [`LIMITS`], except for those whose controller the kernel does not have.
    fn limit(&self) -> Result<()> {
        let exists = |(file, _): &&(&str, &str)| self.directory.join(file).exists();
        let mut limits = LIMITS.iter().filter(exists);
        limits.try_for_each(|(file, limit)| self.write(file, limit))
    }

    fn attach(&self, program: &OwnedFd) -> Result<()> {
        let group = File::open(&self.directory).on("open", &self.directory)?;
        syscalls::attach_device_program(program.as_fd(), group.as_fd())
            .on("attach device rules to", &self.directory)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_process_enters_the_prepared_group_or_fails() {
        let root = tempfile::tempdir().unwrap();
        enter_confined(root.path()).expect("nothing is enforced in a hierarchy of version 1");
        fs::write(root.path().join("cgroup.controllers"), "memory pids").unwrap();
        let error = enter_confined(root.path()).unwrap_err().chain();
        assert!(error.contains(CONFINED), "{error}");
        let group = root.path().join(CONFINED);
        fs::create_dir(&group).unwrap();
        enter_confined(root.path()).expect_err("a directory is not a cgroup");
        let processes = group.join("cgroup.procs");
        fs::write(&processes, "").unwrap();
        enter_confined(root.path()).unwrap();
        assert_eq!(fs::read_to_string(processes).unwrap(), "0");
    }

    #[test]
    fn a_group_gets_the_limits_that_the_kernel_has() {
        let directory = tempfile::tempdir().unwrap();
        let group = Group {
            name: "/x".into(),
            directory: directory.path().to_owned(),
        };
        fs::write(directory.path().join("pids.max"), "max").unwrap();
        group.limit().unwrap();
        assert_eq!(
            fs::read_to_string(directory.path().join("pids.max")).unwrap(),
            "8"
        );
        assert!(!directory.path().join("memory.max").exists());
    }
}

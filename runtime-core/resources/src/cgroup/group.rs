//! One cgroup, in all hierarchies of the host.

use std::{collections::BTreeSet, error::Error as _, io, path::PathBuf};

use cgroups_rs::{
    CgroupPid,
    fs::{
        Cgroup, Controller, Hierarchy,
        cpuset::CpuSetController,
        error::{Error, ErrorKind},
        memory::MemController,
    },
};

use super::{CgroupError, memory::Memory};

/// A cgroup, and those of its directories that this process makes.
pub struct Group {
    cgroup: Cgroup,
    own: Vec<PathBuf>,
    memory: Option<Memory>,
}

impl Group {
    /// The cgroup at `path`, which is not made yet. With `parent_is_shared`, its parent is removed
    /// by the last shim that has a cgroup in it.
    pub fn load(hierarchy: Box<dyn Hierarchy>, path: &str, parent_is_shared: bool) -> Self {
        let cgroup = Cgroup::load(hierarchy, path);
        let depth = path.split('/').count();
        let mut own = BTreeSet::new();
        for subsystem in cgroup.subsystems() {
            let leaf = subsystem.to_controller().path();
            for (height, directory) in leaf.ancestors().take(depth).enumerate() {
                if !directory.exists() || (height == 1 && parent_is_shared) {
                    own.insert(directory.to_path_buf());
                }
            }
        }
        let memory = cgroup
            .controller_of::<MemController>()
            .map(|controller| Memory::new(controller.path(), depth, cgroup.v2()));
        Self {
            memory,
            cgroup,
            own: own.into_iter().collect(),
        }
    }

    /// The directories to remove at the end, parents first.
    pub fn own(&self) -> &[PathBuf] {
        &self.own
    }

    /// Its memory, if the host has that controller.
    pub fn memory(&self) -> Option<&Memory> {
        self.memory.as_ref()
    }

    pub fn is_v2(&self) -> bool {
        self.cgroup.v2()
    }

    /// Makes the cgroup and its parents, if they are missing. Another shim may remove a shared
    /// parent while it is empty; then it is made again.
    pub fn make(&self) -> Result<(), CgroupError> {
        system::directory::retry(|| self.cgroup.create(), parent_vanished)
            .map_err(self.failed("Making cgroup"))
    }

    /// Moves a process in, with all its threads.
    pub fn add_process(&self, pid: u32) -> Result<(), CgroupError> {
        let pid = CgroupPid::from(u64::from(pid));
        self.cgroup
            .add_task_by_tgid(pid)
            .map_err(self.failed("Entering cgroup"))
    }

    /// Moves one thread of a process in.
    pub fn add_thread(&self, tid: u32) -> Result<(), CgroupError> {
        let tid = CgroupPid::from(u64::from(tid));
        self.cgroup
            .add_task(tid)
            .map_err(self.failed("Moving a thread into cgroup"))
    }

    /// Restricts CPUs and memory nodes, if the host has that controller.
    pub fn confine(&self, cpus: &str, nodes: &str) -> Result<(), CgroupError> {
        let Some(controller) = self.cgroup.controller_of::<CpuSetController>() else {
            return Ok(());
        };
        if !cpus.is_empty() {
            controller
                .set_cpus(cpus)
                .map_err(self.failed("Choosing the CPUs of cgroup"))?;
        }
        if !nodes.is_empty() {
            controller
                .set_mems(nodes)
                .map_err(self.failed("Choosing the memory of cgroup"))?;
        }
        Ok(())
    }

    fn failed(&self, action: &'static str) -> impl FnOnce(Error) -> CgroupError {
        let path = PathBuf::from(self.cgroup.path());
        move |error| failed(action, path, error.kind(), kernel_error(&error))
    }
}

/// Turns an error of the library into one with the file and the kernel's error. If there was no
/// system call, the reason is added here.
fn failed(
    action: &'static str,
    cgroup: PathBuf,
    kind: &ErrorKind,
    answer: Option<io::Error>,
) -> CgroupError {
    let path = match kind {
        ErrorKind::WriteFailed(file, _) | ErrorKind::ReadFailed(file) => cgroup.join(file),
        _ => cgroup,
    };
    let source = answer.unwrap_or_else(|| io::Error::other(reason(kind)));
    CgroupError::Io {
        action,
        path,
        source,
    }
}

fn reason(kind: &ErrorKind) -> String {
    match kind {
        ErrorKind::WriteFailed(_, value) => format!("{value:?} could not be written there"),
        ErrorKind::ReadFailed(_) => "it could not be read".to_owned(),
        ErrorKind::SubsystemsEmpty | ErrorKind::SpecifiedControllers => {
            "the host has mounted no controller for it".to_owned()
        }
        ErrorKind::CgroupVersion | ErrorKind::CgroupMode | ErrorKind::InvalidOperation => {
            "the host's version of cgroups does not have that".to_owned()
        }
        other => format!("the library for cgroups failed ({other})"),
    }
}

/// The kernel's error, if there was a system call.
fn kernel_error(error: &Error) -> Option<io::Error> {
    let cause = error.source()?.downcast_ref::<io::Error>()?;
    cause.raw_os_error().map(io::Error::from_raw_os_error)
}

/// Whether a cgroup was not made because one above it was removed meanwhile.
fn parent_vanished(error: &Error) -> bool {
    kernel_error(error).is_some_and(|answer| {
        // The cgroup was removed while a file of it was open.
        let removed = answer.raw_os_error() == Some(nix::libc::ENODEV);
        let kinds = [io::ErrorKind::NotFound, io::ErrorKind::AlreadyExists];
        removed || kinds.contains(&answer.kind())
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_failure_names_the_file_and_the_reason() {
        let text = |kind: ErrorKind, answer: Option<i32>| {
            let answer = answer.map(io::Error::from_raw_os_error);
            let error = failed("Entering cgroup", "/imprint/pod".into(), &kind, answer);
            format!("{error}: {}", error.source().unwrap())
        };
        let write = |file: &str| ErrorKind::WriteFailed(file.to_owned(), "12".to_owned());
        assert_eq!(
            text(write("cgroup.procs"), None),
            "Entering cgroup /imprint/pod/cgroup.procs failed: \"12\" could not be written there"
        );
        let refused = text(
            write("/sys/fs/cgroup/pod/cgroup.procs"),
            Some(nix::libc::EBUSY),
        );
        assert!(
            refused.starts_with("Entering cgroup /sys/fs/cgroup/pod/cgroup.procs failed: Device"),
            "{refused}"
        );
        assert_eq!(
            text(ErrorKind::SubsystemsEmpty, None),
            "Entering cgroup /imprint/pod failed: the host has mounted no controller for it"
        );
        let other = text(ErrorKind::ParseError, None);
        assert!(
            other.contains("/imprint/pod failed: the library for cgroups"),
            "{other}"
        );
    }
}

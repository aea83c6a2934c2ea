//! Cleans up a sandbox whose shim is gone.

use std::{
    fmt, io,
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

use network::detach_blocking;
use resources::cgroup::remove_all;
use system::error::chain;

use super::{ProcessRecord, SandboxState, dir, mounts, vmm};

/// How long all killed VMMs together may take to end.
const KILL_TIMEOUT: Duration = Duration::from_secs(5);

/// What happened to a VMM.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum VmmOutcome {
    /// It had ended already.
    Gone,
    /// It was killed, and has ended.
    Killed,
    /// It was killed, and did not end in time.
    StillThere,
}

/// What [`cleanup`] found and did.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Report {
    /// VMMs that were recorded, or found by the sandbox's directory in their arguments.
    pub vmms: Vec<(ProcessRecord, VmmOutcome)>,
    /// Mount points that were unmounted.
    pub unmounted: Vec<PathBuf>,
    /// Whether there was a directory, which was removed.
    pub removed: bool,
    /// What failed, so that something is left behind; one sentence each.
    pub problems: Vec<String>,
}

impl Report {
    /// Whether nothing is left behind.
    pub fn is_clean(&self) -> bool {
        self.problems.is_empty()
    }

    fn try_to<T>(&mut self, what: fmt::Arguments<'_>, result: io::Result<T>) -> Option<T> {
        match result {
            Ok(value) => Some(value),
            Err(error) => {
                self.problems.push(format!("{what}: {error}"));
                None
            }
        }
    }
}

/// Undoes all that is left of the sandbox whose directory is `path`
/// ([`SandboxDir::path_for`](super::SandboxDir::path_for)) on behalf of `bundle`: kills its VMM,
/// removes the filters of its network interfaces, unmounts, removes cgroups, sockets and the
/// directory. Does as much as possible with a damaged or missing record, reports what failed, and
/// may be called again.
///
/// A sandbox is not touched if its record does not name `bundle`, neither as its own nor as that of
/// a container. It belongs to another of containerd's namespaces, in each of which ids are unique.
/// Blocks for at most a few seconds.
pub fn cleanup(path: &Path, bundle: &Path) -> Report {
    let mut report = Report::default();
    let state = match dir::load(path) {
        Ok(state) => state,
        Err(error) => {
            report.problems.push(chain(&error));
            None
        }
    };
    if let Some(state) = state.as_ref().filter(|state| !is_of(state, bundle)) {
        report.problems.push(format!(
            "{} belongs to the bundle {} and was left alone",
            path.display(),
            state.bundle.display()
        ));
        return report;
    }
    let damaged = !report.problems.is_empty();
    end_vmms(path, state.as_ref(), &mut report);
    if let Some(network) = state.as_ref().and_then(|state| state.network.as_ref())
        && let Err(error) = detach_blocking(&network.path, network.id())
    {
        report.problems.push(chain(&error));
    }
    let cgroups = state.as_ref().map(|state| state.cgroups.as_slice());
    for left in remove_all(cgroups.unwrap_or_default()) {
        report.problems.push(chain(&left));
    }
    remove_directory(path, damaged, &mut report);
    report
}

/// Whether a sandbox, or one of its containers, was made from this bundle.
fn is_of(state: &SandboxState, bundle: &Path) -> bool {
    let containers = state.containers.values();
    let mut recorded = containers
        .map(|container| container.bundle.as_path())
        .chain([state.bundle.as_path()]);
    recorded.any(|recorded| same_directory(recorded, bundle))
}

/// Whether two paths name one directory, whatever links lead there.
fn same_directory(one: &Path, other: &Path) -> bool {
    let resolved = |path: &Path| path.canonicalize().ok();
    one == other || resolved(one).is_some_and(|one| resolved(other) == Some(one))
}

fn end_vmms(path: &Path, state: Option<&SandboxState>, report: &mut Report) {
    let deadline = Instant::now() + KILL_TIMEOUT;
    let recorded = state.and_then(|state| state.vmm);
    let binary = state.and_then(|state| state.vmm_binary.as_deref());
    let mut all: Vec<ProcessRecord> = recorded.into_iter().collect();
    let unrecorded = vmm::find(path, binary);
    all.extend(
        unrecorded
            .into_iter()
            .filter(|process| Some(*process) != recorded),
    );
    for process in all {
        let pid = process.pid;
        let Some(open) = report.try_to(
            format_args!("VMM {pid} could not be inspected"),
            vmm::open(process),
        ) else {
            continue;
        };
        let outcome = match open {
            None => VmmOutcome::Gone,
            Some(fd) => match vmm::kill(&fd, deadline) {
                Ok(true) => VmmOutcome::Killed,
                Ok(false) => {
                    let waited = KILL_TIMEOUT.as_secs();
                    report.problems.push(format!(
                        "VMM {pid} was killed and did not end within {waited} s"
                    ));
                    VmmOutcome::StillThere
                }
                Err(error) => {
                    report
                        .problems
                        .push(format!("VMM {pid} could not be killed: {error}"));
                    VmmOutcome::StillThere
                }
            },
        };
        report.vmms.push((process, outcome));
    }
}

fn unmount(point: &Path, report: &mut Report) {
    let shown = point.display();
    let done = report.try_to(
        format_args!("{shown} could not be unmounted"),
        mounts::unmount(point),
    );
    if done == Some(true) {
        report.unmounted.push(point.to_owned());
    }
}

/// Removes the directory, unless a mount below it could lead the removal elsewhere, or a VMM is
/// left that only the directory names.
fn remove_directory(path: &Path, damaged: bool, report: &mut Report) {
    if !path.is_dir() {
        if let Err(error) = dir::unlink_vm(path) {
            report.problems.push(chain(&error));
        }
        return;
    }
    let shown = path.display();
    let found = report.try_to(
        format_args!("Mounts below {shown} could not be listed"),
        mounts::below(path),
    );
    for point in found.into_iter().flatten() {
        unmount(&point, report);
    }
    // The directory of a damaged record is removed too: all that could be read of it was undone.
    let left = report.problems.len() - usize::from(damaged);
    if left > 0 {
        report.problems.push(format!(
            "{shown} was not removed, since it names what is left"
        ));
        return;
    }
    match dir::remove(path) {
        Ok(()) => report.removed = true,
        Err(error) => report.problems.push(chain(&error)),
    }
}

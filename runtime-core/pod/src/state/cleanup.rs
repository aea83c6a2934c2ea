//! What is done about a sandbox whose shim is gone.

use std::{
    fmt, io,
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

use network::detach_blocking;
use resources::cgroup::remove_all;
use system::error::chain;

use super::{ProcessRecord, SandboxState, dir, monitor, mounts};

/// How long killed monitors are waited for, all together.
const KILL_DEADLINE: Duration = Duration::from_secs(5);

/// What became of a monitor.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum MonitorOutcome {
    /// It had ended before.
    Gone,
    /// It was killed, and has ended.
    Killed,
    /// It was killed, and did not end in time.
    StillThere,
}

/// What [`cleanup`] found and did.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Report {
    /// Monitors, recorded or found by the sandbox's directory in their arguments.
    pub monitors: Vec<(ProcessRecord, MonitorOutcome)>,
    /// Mount points that were unmounted.
    pub unmounted: Vec<PathBuf>,
    /// Whether a directory was there and was removed.
    pub removed: bool,
    /// What could not be done, and so is left behind.
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
/// ([`SandboxDir::path_for`](super::SandboxDir::path_for)) on behalf of `bundle`: kills its monitor,
/// gives its network interfaces back, unmounts, removes cgroups, sockets and the directory. Does
/// what it can with a damaged or absent record, says what it could not do, and may be called again.
/// A sandbox whose record names neither itself nor a container of this bundle is somebody else's
/// and is left alone: ids are unique in one of containerd's namespaces only. Returns within a few
/// seconds; it blocks, so a caller with other duties gives it a thread.
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
    end_monitors(path, state.as_ref(), &mut report);
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

fn end_monitors(path: &Path, state: Option<&SandboxState>, report: &mut Report) {
    let deadline = Instant::now() + KILL_DEADLINE;
    let recorded = state.and_then(|state| state.monitor);
    let binary = state.and_then(|state| state.monitor_binary.as_deref());
    let mut all: Vec<ProcessRecord> = recorded.into_iter().collect();
    let unrecorded = monitor::find(path, binary);
    all.extend(
        unrecorded
            .into_iter()
            .filter(|process| Some(*process) != recorded),
    );
    for process in all {
        let pid = process.pid;
        let Some(open) = report.try_to(
            format_args!("Monitor {pid} could not be looked at"),
            monitor::open(process),
        ) else {
            continue;
        };
        let outcome = match open {
            None => MonitorOutcome::Gone,
            Some(fd) => match monitor::kill(&fd, deadline) {
                Ok(true) => MonitorOutcome::Killed,
                Ok(false) => {
                    let waited = KILL_DEADLINE.as_secs();
                    report.problems.push(format!(
                        "Monitor {pid} was killed and did not end within {waited} s"
                    ));
                    MonitorOutcome::StillThere
                }
                Err(error) => {
                    report
                        .problems
                        .push(format!("Monitor {pid} could not be killed: {error}"));
                    MonitorOutcome::StillThere
                }
            },
        };
        report.monitors.push((process, outcome));
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

/// The directory goes last, and only if no mount below it could lead the removal elsewhere, and no
/// monitor is left that only it names.
fn remove_directory(path: &Path, damaged: bool, report: &mut Report) {
    if !path.is_dir() {
        if let Err(error) = dir::unlink_vm(path) {
            report.problems.push(chain(&error));
        }
        return;
    }
    let shown = path.display();
    let found = report.try_to(
        format_args!("Mounts below {shown} are not known"),
        mounts::below(path),
    );
    for point in found.into_iter().flatten() {
        unmount(&point, report);
    }
    // A damaged record is no reason to keep it: all that can be known of it was undone.
    let left = report.problems.len() - usize::from(damaged);
    if left > 0 {
        report
            .problems
            .push(format!("{shown} was kept, since it names what is left"));
        return;
    }
    match dir::remove(path) {
        Ok(()) => report.removed = true,
        Err(error) => report.problems.push(chain(&error)),
    }
}

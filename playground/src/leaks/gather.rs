//! Reading what is on the machine.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs, io,
    path::Path,
};

use super::{Kind, Scope};
use crate::{
    Error, Result,
    proc::{Process, mounts},
};

/// Directories of the machine where run-time state of containers is kept.
const STATE: [&str; 3] = ["/run", "/dev/shm", "/var/lib/cni"];

/// runc's state, for the cases that compare with it: its directory, and one for each namespace,
/// stay.
const RUNC: &str = "/run/containerd/runc";

/// What a node keeps on purpose, in its run directory: the verdict on the VMM, which every later
/// start reads, the count of starts and their turns, and the parents of what comes and goes.
const KEPT: [&str; 7] = [
    "run/clh-probe.json",
    "run/qemu-probe.json",
    "run/s",
    "run/starts",
    "run/starts.json",
    "run/starts.lock",
    "run/vm",
];

/// The processes that count as the playground's.
pub(super) fn processes(scope: &Scope) -> Vec<Process> {
    let own = i32::try_from(std::process::id()).unwrap_or_default();
    let counts = |process: &Process| {
        // The daemon is the node's, and may be another one than before.
        if is_containerd(&process.command) {
            return false;
        }
        let named = !scope.only_ours && is_runtime(&process.command);
        process.pid != own && (named || process.belongs_to(&scope.directory))
    };
    Process::all().into_iter().filter(counts).collect()
}

fn is_containerd(command: &str) -> bool {
    let (path, arguments) = command.split_once(' ').unwrap_or((command, ""));
    path.rsplit('/').next() == Some("containerd") && arguments.starts_with("--config")
}

fn is_runtime(command: &str) -> bool {
    let program = command
        .split(' ')
        .next()
        .and_then(|path| path.rsplit('/').next());
    let names = ["containerd-shim", "qemu-sys", "cloud-hyper"];
    program.is_some_and(|program| names.iter().any(|name| program.starts_with(name)))
}

/// Everything else that counts.
pub(super) fn things(scope: &Scope) -> Result<BTreeMap<Kind, BTreeSet<String>>> {
    let directory = scope.directory.display().to_string();
    let mut things = BTreeMap::from([
        (Kind::Mount, mount_lines()?),
        (Kind::Link, links()?),
        (Kind::NetworkNamespace, names("/run/netns")?),
        (Kind::Cgroup, cgroups()?),
        (Kind::LoopDevice, loop_devices()?),
        (Kind::Socket, sockets()?),
        (Kind::File, BTreeSet::new()),
    ]);
    if scope.only_ours {
        for found in things.values_mut() {
            found.retain(|name| name.contains(&directory) || name.contains(&scope.prefix));
        }
    }
    if let Some(files) = things.get_mut(&Kind::File) {
        for part in ["run", "fifo", "tmp"] {
            walk(&scope.directory.join(part), 0, 8, files)?;
        }
        // containerd's own directories come with its plugins and namespaces; bundles lie below.
        walk(&scope.directory.join("state"), 2, 3, files)?;
        if !scope.only_ours {
            for place in STATE {
                walk(Path::new(place), 0, 4, files)?;
            }
        }
        // What a template could not do is remembered with it, however many pods have gone since.
        files.retain(|name| !(name.contains("/run/vm/template/") && name.ends_with("/failures")));
        files.retain(|name| !name.contains("/run/starts/"));
        files.retain(|name| {
            Path::new(name) != Path::new(RUNC) && Path::new(name).parent() != Some(Path::new(RUNC))
        });
        for name in KEPT {
            files.remove(&*scope.directory.join(name).to_string_lossy());
        }
    }
    Ok(things)
}

fn mount_lines() -> Result<BTreeSet<String>> {
    Ok(mounts()?
        .into_iter()
        .map(|m| format!("{} ({})", m.point.display(), m.what))
        .collect())
}

/// Network interfaces of this process's network namespace, which `/sys` may not be that of.
fn links() -> Result<BTreeSet<String>> {
    let path = "/proc/self/net/dev";
    let text = fs::read_to_string(path).map_err(Error::io("Reading", path))?;
    let named = text.lines().filter_map(|line| line.split_once(':'));
    Ok(named.map(|(name, _)| name.trim().to_owned()).collect())
}

fn names(directory: &str) -> Result<BTreeSet<String>> {
    let entries = match fs::read_dir(directory) {
        Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(BTreeSet::new()),
        read => read.map_err(Error::io("Listing", directory))?,
    };
    Ok(entries
        .flatten()
        .map(|entry| entry.file_name().to_string_lossy().into_owned())
        .collect())
}

/// All cgroups but those beside the tests' own: whoever started the tests makes others there.
fn cgroups() -> Result<BTreeSet<String>> {
    let path = "/proc/self/cgroup";
    let own = fs::read_to_string(path).map_err(Error::io("Reading", path))?;
    let mut found = BTreeSet::new();
    directories(Path::new("/sys/fs/cgroup"), &mut found)?;
    found.retain(|name| !is_beside(name, &own));
    Ok(found)
}

/// Whether a directory below `/sys/fs/cgroup` has its parent in common with one of the cgroups in
/// `own` (`/proc/<pid>/cgroup`), without being that or below it. What lies at the top of a
/// hierarchy is not.
fn is_beside(directory: &str, own: &str) -> bool {
    let rest = directory.trim_start_matches("/sys/fs/cgroup");
    // With cgroup v1 the first name is that of the hierarchy.
    let named = rest.get(1..).and_then(|rest| rest.split_once('/'));
    let paths = [
        Some(rest),
        named.map(|(hierarchy, _)| &rest[hierarchy.len() + 1..]),
    ];
    let below = |path: &str, parent: &str| {
        path.strip_prefix(parent)
            .is_some_and(|rest| rest.starts_with('/'))
    };
    own.lines()
        .filter_map(|line| line.splitn(3, ':').nth(2))
        .filter_map(|own| Some((own, own.rsplit_once('/')?.0)))
        .filter(|(_, parent)| !parent.is_empty())
        .any(|(own, parent)| {
            let beside = |path: &str| below(path, parent) && path != own && !below(path, own);
            paths.iter().flatten().any(|path| beside(path))
        })
}

fn directories(directory: &Path, found: &mut BTreeSet<String>) -> Result<()> {
    let entries = match fs::read_dir(directory) {
        // A cgroup may go while it is looked at.
        Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(()),
        read => read.map_err(Error::io("Listing", directory))?,
    };
    for entry in entries
        .flatten()
        .filter(|e| e.file_type().is_ok_and(|t| t.is_dir()))
    {
        found.insert(entry.path().display().to_string());
        directories(&entry.path(), found)?;
    }
    Ok(())
}

fn loop_devices() -> Result<BTreeSet<String>> {
    let mut found = BTreeSet::new();
    for device in names("/sys/block")?
        .into_iter()
        .filter(|name| name.starts_with("loop"))
    {
        if let Ok(file) = fs::read_to_string(format!("/sys/block/{device}/loop/backing_file")) {
            found.insert(format!("{device} {}", file.trim()));
        }
    }
    Ok(found)
}

/// Names of bound unix sockets, those of the abstract kind with their `@`.
fn sockets() -> Result<BTreeSet<String>> {
    let path = "/proc/net/unix";
    let text = fs::read_to_string(path).map_err(Error::io("Reading", path))?;
    let named = text
        .lines()
        .skip(1)
        .filter_map(|line| line.split_whitespace().nth(7));
    Ok(named.map(str::to_owned).collect())
}

/// Adds what is below the directory, from `least` to `most` levels down.
fn walk(directory: &Path, least: u32, most: u32, found: &mut BTreeSet<String>) -> Result<()> {
    let entries = match fs::read_dir(directory) {
        Err(e)
            if matches!(
                e.kind(),
                io::ErrorKind::NotFound | io::ErrorKind::NotADirectory
            ) =>
        {
            return Ok(());
        }
        read => read.map_err(Error::io("Listing", directory))?,
    };
    for entry in entries.flatten() {
        if least == 0 {
            found.insert(entry.path().display().to_string());
        }
        // Not through links: what they name is found where it is.
        if most > 0 && entry.file_type().is_ok_and(|kind| kind.is_dir()) {
            walk(&entry.path(), least.saturating_sub(1), most - 1, found)?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cgroups_beside_the_tests_own_are_somebody_elses() {
        let own = "4:memory:/session/one\n3:cpuset:/\n0::/user.slice/me.scope\n";
        for name in ["memory/session/two", "user.slice/you.scope/x"] {
            assert!(is_beside(&format!("/sys/fs/cgroup/{name}"), own), "{name}");
        }
        for name in [
            "memory/k8s.io/pod",
            "memory/session",
            "memory/session/one/pod",
            "pods",
        ] {
            assert!(!is_beside(&format!("/sys/fs/cgroup/{name}"), own), "{name}");
        }
    }
}

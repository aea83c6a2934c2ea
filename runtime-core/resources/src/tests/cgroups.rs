//! Real cgroups: those of the host, and a cgroup v2 hierarchy where one is mounted.
//!
//! A test that moves itself is a process of its own, since a cgroup has whole processes.

use std::{
    collections::BTreeSet,
    fs,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
};

use cgroups_rs::fs::{
    Cgroup, Hierarchy, Subsystem,
    hierarchies::{self, V1},
    pid::PidController,
};

use super::super::cgroup::{CgroupPath, PodCgroups, remove_all};

const HYBRID: &str = "/sys/fs/cgroup/unified";
/// Name of the test in a child process, and what it is to do.
const CHILD: &str = "IMPRINT_TEST_CGROUP";

/// A cgroup v2 hierarchy at another place than the usual, with no controller.
#[derive(Debug)]
struct V2At(PathBuf);

impl Hierarchy for V2At {
    fn subsystems(&self) -> Vec<Subsystem> {
        let any = PidController::new(self.0.clone(), PathBuf::new(), true);
        vec![Subsystem::Pid(any)]
    }

    fn root(&self) -> PathBuf {
        self.0.clone()
    }

    fn root_control_group(&self) -> Cgroup {
        Cgroup::load(Box::new(Self(self.0.clone())), "")
    }

    fn parent_control_group(&self, path: &str) -> Cgroup {
        let parent = Path::new(path).parent().unwrap();
        Cgroup::load(Box::new(Self(self.0.clone())), parent)
    }

    fn v2(&self) -> bool {
        true
    }
}

fn log() -> slog::Logger {
    slog::Logger::root(slog::Discard, slog::o!())
}

fn writable() -> bool {
    let probe = format!("imprint-test-probe-{}", std::process::id());
    let Ok(cgroup) = Cgroup::new(hierarchies::auto(), &probe) else {
        eprintln!("SKIPPED: cgroups cannot be made here");
        return false;
    };
    cgroup.delete().unwrap();
    true
}

fn hybrid() -> bool {
    let there = Path::new(HYBRID).join("cgroup.procs").exists();
    if !there {
        eprintln!("SKIPPED: no cgroup v2 at {HYBRID}");
    }
    there
}

/// The cgroups of a process, one line each.
fn cgroups_of(pid: u32) -> BTreeSet<String> {
    let table = fs::read_to_string(format!("/proc/{pid}/cgroup")).unwrap();
    table.lines().map(str::to_owned).collect()
}

/// Directories below `root` whose name contains `name`.
fn find(root: &Path, name: &str) -> Vec<PathBuf> {
    let mut found = Vec::new();
    let Ok(entries) = fs::read_dir(root) else {
        return found;
    };
    for entry in entries.flatten() {
        if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
            if entry.file_name().to_string_lossy().contains(name) {
                found.push(entry.path());
            }
            found.extend(find(&entry.path(), name));
        }
    }
    found
}

fn sleeper() -> Child {
    Command::new("sleep").arg("600").spawn().unwrap()
}

/// Runs the test `name` of this module again in a process of its own.
fn alone(name: &str) {
    let (_, module) = module_path!().split_once("::").unwrap();
    let output = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", &format!("{module}::{name}"), "--nocapture"])
        .env(CHILD, "1")
        .stdin(Stdio::null())
        .output()
        .unwrap();
    let words = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{words}");
    let summary = String::from_utf8_lossy(&output.stdout);
    assert!(summary.contains("1 passed"), "{summary}");
}

fn is_child() -> bool {
    std::env::var_os(CHILD).is_some()
}

fn name(what: &str) -> String {
    format!("imprint-test-{what}-{}", std::process::id())
}

/// In and out again: with a child that inherits, which ends with the cgroup.
fn round_trip(make: impl Fn() -> Box<dyn Hierarchy>, root: &Path, id: &str) {
    let before = cgroups_of(std::process::id());
    let path = CgroupPath::parse(Some(Path::new(&format!("/{id}-ns/{id}"))), id, true).unwrap();
    let groups = PodCgroups::within(&make, &path, id, true, &log()).unwrap();
    let directories = groups.directories();
    assert!(!directories.is_empty());
    assert!(directories.iter().all(|path| !path.exists()));
    groups.enter().unwrap();
    assert!(directories.iter().all(|path| path.is_dir()));
    let mut child = sleeper();
    let inside = cgroups_of(child.id());
    let lines = inside.iter().filter(|line| line.ends_with(id)).count();
    // Each hierarchy has the namespace's directory and the container's.
    assert_eq!(2 * lines, directories.len(), "{inside:?}");

    // What is there already is another's.
    let second = PodCgroups::within(&make, &path, id, true, &log()).unwrap();
    let shared = second.directories();
    assert!(
        shared.iter().all(|path| path.ends_with(format!("{id}-ns"))),
        "{shared:?}"
    );

    assert!(groups.leave().is_empty(), "{:?}", groups.leave());
    assert_eq!(cgroups_of(std::process::id()), before);
    assert!(child.wait().unwrap().code().is_none(), "it was not killed");
    assert_eq!(find(root, id), [] as [PathBuf; 0]);
}

#[test]
fn a_process_enters_and_leaves() {
    if !writable() {
        return;
    }
    if !is_child() {
        return alone("a_process_enters_and_leaves");
    }
    round_trip(
        hierarchies::auto,
        Path::new("/sys/fs/cgroup"),
        &name("enter"),
    );
}

#[test]
fn a_process_enters_and_leaves_on_v2() {
    if !hybrid() {
        return;
    }
    if !is_child() {
        return alone("a_process_enters_and_leaves_on_v2");
    }
    let make = || Box::new(V2At(HYBRID.into())) as Box<dyn Hierarchy>;
    round_trip(make, Path::new(HYBRID), &name("enter2"));
}

#[test]
fn threads_are_apart_from_their_process_on_v1() {
    if !writable() || hierarchies::is_cgroup2_unified_mode() {
        return;
    }
    if !is_child() {
        return alone("threads_are_apart_from_their_process_on_v1");
    }
    let id = name("threads");
    let path = CgroupPath::parse(Some(Path::new(&format!("/{id}-ns/{id}"))), &id, false).unwrap();
    let make = || Box::new(V1::new()) as Box<dyn Hierarchy>;
    let groups = PodCgroups::within(make, &path, &id, false, &log()).unwrap();
    groups.enter().unwrap();
    let own = std::process::id();
    let thread = rustix::thread::gettid().as_raw_nonzero().get() as u32;
    groups.move_vcpus(&[thread]).unwrap();
    let of_thread = fs::read_to_string(format!("/proc/{own}/task/{thread}/cgroup")).unwrap();
    assert!(
        of_thread.contains(&format!(":cpu:/{id}-ns/{id}")),
        "{of_thread}"
    );
    let of_process = fs::read_to_string(format!("/proc/{own}/cgroup")).unwrap();
    assert!(
        of_process.contains(&format!(":cpu:/imprint_overhead/{id}")),
        "{of_process}"
    );
    // The host's first CPU and memory node are there everywhere.
    groups.confine("0", "0").unwrap();
    let set = PathBuf::from(format!("/sys/fs/cgroup/cpuset/{id}-ns/{id}/cpuset.cpus"));
    assert_eq!(fs::read_to_string(set).unwrap().trim(), "0");
    let refused = groups.confine("x", "").unwrap_err();
    let crate::cgroup::CgroupError::Io { path, source, .. } = &refused else {
        panic!("{refused:?}")
    };
    assert!(path.ends_with("cpuset.cpus"), "{path:?}");
    assert!(source.raw_os_error().is_some(), "{source}");
    assert!(!refused.to_string().contains("control group"), "{refused}");
    assert!(groups.leave().is_empty(), "{:?}", groups.leave());
    assert_eq!(find(Path::new("/sys/fs/cgroup"), &id), [] as [PathBuf; 0]);
    let shared = Path::new("/sys/fs/cgroup/cpu/imprint_overhead");
    let empty = find(shared, "").is_empty();
    assert!(!empty || !shared.exists(), "the shared parent is left");
}

#[test]
fn removal_ends_what_is_inside_and_spares_what_is_not() {
    let root = if writable() && Path::new("/sys/fs/cgroup/pids").is_dir() {
        "/sys/fs/cgroup/pids"
    } else if hybrid() {
        HYBRID
    } else {
        return;
    };
    let directory = Path::new(root).join(name("remove"));
    fs::create_dir(&directory).unwrap();
    let (mut inside, mut outside) = (sleeper(), sleeper());
    fs::write(directory.join("cgroup.procs"), inside.id().to_string()).unwrap();
    assert!(remove_all(std::slice::from_ref(&directory)).is_empty());
    assert!(!directory.exists());
    assert!(inside.wait().unwrap().code().is_none());
    assert!(outside.try_wait().unwrap().is_none());
    outside.kill().unwrap();
    outside.wait().unwrap();
    assert!(remove_all(std::slice::from_ref(&directory)).is_empty());

    // A cgroup below it is another's, which removes both. What is in its own ends all the same.
    fs::create_dir_all(directory.join("below")).unwrap();
    let mut inside = sleeper();
    fs::write(directory.join("cgroup.procs"), inside.id().to_string()).unwrap();
    assert!(remove_all(std::slice::from_ref(&directory)).is_empty());
    assert!(directory.join("below").exists());
    let ended = inside.try_wait().unwrap();
    assert!(
        ended.is_some_and(|ended| ended.code().is_none()),
        "not killed"
    );
    // Unless it is its own.
    assert!(remove_all(&[directory.clone(), directory.join("below")]).is_empty());
    assert!(!directory.exists());
}

/// A thread that ends while its process is moved stays behind, as any thread that is ending.
#[test]
fn a_thread_that_is_ending_is_waited_for() {
    if !writable() {
        return;
    }
    if !is_child() {
        return alone("a_thread_that_is_ending_is_waited_for");
    }
    for round in 0..60 {
        let id = format!("{}-{round}", name("ending"));
        let path = CgroupPath::parse(Some(Path::new(&format!("/{id}"))), &id, true).unwrap();
        let groups = PodCgroups::plan(&path, &id, true, &log()).unwrap();
        groups.enter().unwrap();
        let threads: Vec<_> = (0..8)
            .map(|nth| {
                std::thread::spawn(move || {
                    for _ in 0..nth * 20 {
                        std::thread::yield_now();
                    }
                })
            })
            .collect();
        assert!(groups.leave().is_empty(), "{:?}", groups.leave());
        assert_eq!(find(Path::new("/sys/fs/cgroup"), &id), [] as [PathBuf; 0]);
        for thread in threads {
            thread.join().unwrap();
        }
    }
}

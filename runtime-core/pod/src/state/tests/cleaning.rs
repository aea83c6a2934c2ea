//! What is left of a sandbox is undone, and nothing else.

use std::{
    fs::File,
    os::{fd::OwnedFd, unix::net::UnixListener},
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};

use nix::{
    mount::{MsFlags, mount},
    sched::{CloneFlags, unshare},
};

use super::*;

fn start(program: &Path, arguments: &[&str]) -> Child {
    let mut command = Command::new(program);
    command
        .args(arguments)
        .stdin(Stdio::piped())
        .stdout(Stdio::null());
    command.spawn().unwrap()
}

/// As [`start`], with a fifo for its only argument, which it has opened. Until it has been executed
/// its command line is empty. It reads as long as the file lives.
fn start_reading(program: &Path, fifo: &Path) -> (Child, File) {
    nix::unistd::mkfifo(fifo, nix::sys::stat::Mode::S_IRWXU).unwrap();
    let child = start(program, &[fifo.to_str().unwrap()]);
    let opened = File::options().write(true).open(fifo).unwrap();
    (child, opened)
}

fn process(child: &Child) -> ProcessRecord {
    ProcessRecord {
        pid: child.id(),
        start_time: system::process::start_time(child.id()).unwrap(),
    }
}

/// A program with a VMM's name that runs until its input ends.
fn vmm_named(dir: &Path, name: &str) -> PathBuf {
    let path = dir.join(name);
    // Another process copies: a file that this one has open for writing cannot be run by a child
    // of any of its threads.
    let copied = Command::new("cp")
        .arg("/bin/cat")
        .arg(&path)
        .status()
        .unwrap();
    assert!(copied.success());
    path
}

fn runs(child: &mut Child) -> bool {
    child.try_wait().unwrap().is_none()
}

#[test]
fn a_recorded_vmm_is_killed() {
    let fixture = Fixture::new();
    let mut dir = fixture.create("one");
    let mut child = start(Path::new("/bin/cat"), &[]);
    let recorded = process(&child);
    dir.record(|state| state.vmm = Some(recorded)).unwrap();
    fs::write(dir.vmm_dir().join("qmp.sock"), "").unwrap();
    let report = cleanup(dir.path(), Path::new(BUNDLE));
    assert_eq!(report.vmms, [(recorded, VmmOutcome::Killed)]);
    assert!(report.removed && report.is_clean(), "{report:?}");
    assert!(!runs(&mut child));
    fixture.assert_empty();
    assert_eq!(cleanup(dir.path(), Path::new(BUNDLE)), Report::default());
}

#[test]
fn a_process_that_took_over_the_pid_is_left_alone() {
    let fixture = Fixture::new();
    let mut dir = fixture.create("one");
    let mut child = start(Path::new("/bin/cat"), &[]);
    let mut earlier = process(&child);
    earlier.start_time -= 1;
    dir.record(|state| state.vmm = Some(earlier)).unwrap();
    let report = cleanup(dir.path(), Path::new(BUNDLE));
    assert_eq!(report.vmms, [(earlier, VmmOutcome::Gone)]);
    assert!(report.removed && runs(&mut child));
    child.kill().unwrap();
    child.wait().unwrap();
}

/// The shim died between the VMM's start and its record, or the record is unreadable or gone.
#[test]
fn an_unrecorded_vmm_is_found() {
    for record in ["kept", "damaged", "absent"] {
        let fixture = Fixture::new();
        let dir = fixture.create("one");
        let program = vmm_named(fixture.root.path(), "qemu-system-test");
        let socket = dir.vmm_dir().join("fifo");
        let argument = socket.to_str().unwrap();
        let (mut ours, _open) = start_reading(&program, &socket);
        // Another program that names the directory, and another sandbox's VMM.
        let mut reader = start(Path::new("/bin/cat"), &["-", argument]);
        let mut other = start(&program, &["-"]);
        match record {
            "damaged" => fs::write(dir.path().join("state.json"), "{").unwrap(),
            "absent" => fs::remove_file(dir.path().join("state.json")).unwrap(),
            _ => {}
        }
        let wanted = [(process(&ours), VmmOutcome::Killed)];
        let report = cleanup(dir.path(), Path::new(BUNDLE));
        assert_eq!(report.vmms, wanted, "record {record}");
        assert!(report.removed, "record {record}: {report:?}");
        assert_eq!(report.is_clean(), record != "damaged");
        assert!(
            !runs(&mut ours) && runs(&mut reader) && runs(&mut other),
            "record {record}"
        );
        for mut child in [reader, other] {
            child.kill().unwrap();
            child.wait().unwrap();
        }
    }
}

#[test]
fn the_recorded_binary_decides_what_a_vmm_is() {
    let fixture = Fixture::new();
    let mut dir = fixture.create("one");
    let program = vmm_named(fixture.root.path(), "some-vmm");
    dir.record(|state| state.vmm_binary = Some(program.clone()))
        .unwrap();
    let below = dir.path().join("vm/x");
    let (mut child, _open) = start_reading(&program, &below);
    let wanted = [(process(&child), VmmOutcome::Killed)];
    assert_eq!(cleanup(dir.path(), Path::new(BUNDLE)).vmms, wanted);
    assert!(!runs(&mut child));
}

/// Cloud Hypervisor is given its control socket, and its arguments say nothing of the VM.
#[test]
fn a_vmm_is_found_by_the_socket_it_listens_on() {
    let fixture = Fixture::new();
    let dir = fixture.create("one");
    let program = fixture.root.path().join("cloud-hypervisor");
    assert!(
        Command::new("cp")
            .arg("/bin/sleep")
            .arg(&program)
            .status()
            .unwrap()
            .success()
    );
    let sleep_on = |socket: &Path| {
        let listener = UnixListener::bind(socket).unwrap();
        let mut command = Command::new(&program);
        command
            .arg("60")
            .stdin(Stdio::from(OwnedFd::from(listener)));
        command.spawn().unwrap()
    };
    let mut ours = sleep_on(&dir.vmm_dir().join("clh api.sock"));
    let mut other = sleep_on(&fixture.root.path().join("clh-api.sock"));
    let wanted = [(process(&ours), VmmOutcome::Killed)];
    assert_eq!(cleanup(dir.path(), Path::new(BUNDLE)).vmms, wanted);
    assert!(!runs(&mut ours) && runs(&mut other));
    other.kill().unwrap();
    other.wait().unwrap();
}

#[test]
fn a_vmm_whose_binary_was_upgraded_is_found() {
    for recorded in [true, false] {
        let fixture = Fixture::new();
        let mut dir = fixture.create("one");
        let program = vmm_named(fixture.root.path(), "qemu-system-test");
        if recorded {
            dir.record(|state| state.vmm_binary = Some(program.clone()))
                .unwrap();
        }
        let (mut child, _open) = start_reading(&program, &dir.path().join("vm/x"));
        let wanted = [(process(&child), VmmOutcome::Killed)];
        fs::remove_file(&program).unwrap();
        let report = cleanup(dir.path(), Path::new(BUNDLE));
        assert_eq!(report.vmms, wanted, "recorded: {recorded}");
        assert!(!runs(&mut child));
    }
}

#[test]
fn mounts_go_before_the_directory() {
    if !nix::unistd::geteuid().is_root() {
        eprintln!("SKIPPED: mounting needs root");
        return;
    }
    let fixture = Fixture::new();
    let outside = tempfile::tempdir().unwrap();
    std::thread::scope(|scope| {
        let run = || {
            unshare(CloneFlags::CLONE_NEWNS).unwrap();
            let attach = |source: &Path, target: &Path, flags| {
                mount(Some(source), target, None::<&str>, flags, None::<&str>).unwrap();
            };
            attach(
                Path::new("none"),
                Path::new("/"),
                MsFlags::MS_REC | MsFlags::MS_PRIVATE,
            );
            fs::write(outside.path().join("precious"), "x").unwrap();
            let dir = fixture.create("one");
            let [one, other] = ["a", "b c"].map(|name| {
                let path = dir.path().join(name);
                fs::create_dir(&path).unwrap();
                path
            });
            attach(outside.path(), &one, MsFlags::MS_BIND);
            attach(outside.path(), &other, MsFlags::MS_BIND);
            // A link to a mount point elsewhere is none.
            symlink("/proc", dir.path().join("link")).unwrap();
            let report = cleanup(dir.path(), Path::new(BUNDLE));
            assert!(report.is_clean() && report.removed, "{report:?}");
            assert_eq!(report.unmounted, [other, one]);
        };
        scope.spawn(run).join().unwrap();
    });
    assert!(outside.path().join("precious").exists());
    assert!(Path::new("/proc/self").exists());
    fixture.assert_empty();
}

#[test]
fn links_are_removed_and_not_followed() {
    let fixture = Fixture::new();
    let outside = tempfile::tempdir().unwrap();
    fs::write(outside.path().join("precious"), "x").unwrap();
    let dir = fixture.create("one");
    symlink(outside.path(), dir.path().join("link")).unwrap();
    assert!(cleanup(dir.path(), Path::new(BUNDLE)).removed);
    assert!(outside.path().join("precious").exists());
}

#[test]
fn what_is_left_keeps_its_record() {
    let fixture = Fixture::new();
    let mut dir = fixture.create("one");
    let busy = fixture.root.path().join("cgroup");
    fs::create_dir_all(busy.join("with a child")).unwrap();
    let gone = fixture.root.path().join("gone");
    dir.record(|state| state.cgroups = vec![busy.clone(), gone])
        .unwrap();
    let report = cleanup(dir.path(), Path::new(BUNDLE));
    assert!(!report.removed && report.problems.len() == 2, "{report:?}");
    assert!(report.problems[0].contains("cgroup"), "{report:?}");
    // Called again when that is possible, it ends the work.
    fs::remove_dir(busy.join("with a child")).unwrap();
    assert!(cleanup(dir.path(), Path::new(BUNDLE)).removed && !busy.exists());
}

#[test]
fn another_bundles_sandbox_is_left_alone() {
    let fixture = Fixture::new();
    let (own, other) = (
        fixture.root.path().join("own"),
        fixture.root.path().join("x"),
    );
    fs::create_dir(&own).unwrap();
    fs::create_dir(&other).unwrap();
    let link = fixture.root.path().join("link");
    symlink(&own, &link).unwrap();
    let mut dir = SandboxDir::create(fixture.root.path(), "one", &own).unwrap();
    let mut child = start(Path::new("/bin/cat"), &[]);
    let recorded = process(&child);
    dir.record(|state| state.vmm = Some(recorded)).unwrap();

    let report = cleanup(dir.path(), &other);
    assert!(!report.removed && report.vmms.is_empty(), "{report:?}");
    assert!(report.problems[0].contains("left alone"), "{report:?}");
    assert!(runs(&mut child) && dir.path().exists());

    // Its own bundle may be named otherwise.
    assert!(cleanup(dir.path(), &link).removed);
    assert!(!runs(&mut child));
    // A container of a pod speaks for the pod.
    let mut dir = SandboxDir::create(fixture.root.path(), "one", &own).unwrap();
    let bundle = other.clone();
    let disks = Vec::new();
    let container = ContainerRecord { bundle, disks };
    dir.record(|state| drop(state.containers.insert("web".to_owned(), container)))
        .unwrap();
    assert!(cleanup(dir.path(), &other).removed);
}

#[test]
fn it_does_not_take_long() {
    let fixture = Fixture::new();
    let dir = fixture.create("one");
    let begun = Instant::now();
    cleanup(dir.path(), Path::new(BUNDLE));
    assert!(begun.elapsed() < Duration::from_secs(1));
}

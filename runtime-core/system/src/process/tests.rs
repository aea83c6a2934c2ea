use std::{
    process::{Child, Command, Stdio},
    time::Duration,
};

use super::*;

fn sleeper() -> Child {
    let mut command = Command::new("/bin/sleep");
    command.arg("60").stdin(Stdio::null()).spawn().unwrap()
}

#[test]
fn a_child_is_held_by_either_number() {
    let mut child = sleeper();
    let held = hold_child(child.id()).unwrap();
    let number = number_of(&held).unwrap();
    let again = hold(number).unwrap().unwrap();
    assert_eq!(number_of(&again).unwrap(), number);
    assert!(start_time(number).unwrap() >= start_time(own_number().unwrap()).unwrap());
    child.kill().unwrap();
    // Ended, not reaped: it still has its number.
    assert_eq!(number_of(&held).unwrap(), number);
    child.wait().unwrap();
    assert_eq!(
        number_of(&held).unwrap_err().kind(),
        io::ErrorKind::NotFound
    );
    assert!(hold(u32::MAX).unwrap().is_none());
}

#[test]
fn a_number_that_another_has_by_now_is_held_by_nobody() {
    let mut child = sleeper();
    let number = number_of(hold_child(child.id()).unwrap()).unwrap();
    let started = start_time(number).unwrap();
    assert!(hold_started(number, started).unwrap().is_some());
    assert!(hold_started(number, started + 1).unwrap().is_none());
    assert!(all().any(|other| other == number));
    child.kill().unwrap();
    child.wait().unwrap();
    assert!(hold_started(number, started).unwrap().is_none());
    assert!(all().all(|other| other != number));
}

#[test]
fn an_end_is_waited_for_until_the_deadline() {
    let mut child = sleeper();
    let held = hold_child(child.id()).unwrap();
    let begun = Instant::now();
    let short = Duration::from_millis(20);
    assert!(!ends_by(&held, begun + short).unwrap());
    assert!(begun.elapsed() >= short);
    assert!(kill(&held).unwrap());
    assert!(ends_by(&held, begun + Duration::from_secs(30)).unwrap());
    child.wait().unwrap();
    assert!(!kill(&held).unwrap());
}

#[test]
fn the_start_time_is_found_behind_any_name() {
    let rest = "S 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16 17 18 4711 20";
    let of = |stat: &str| parse_start_time(stat.as_bytes());
    assert_eq!(of(&format!("7 (a) b (c) {rest}")), Some(4711));
    assert_eq!(of("7 (short) S 1"), None);
}

/// A process that is the first of a pid namespace, and ends with its parent, which is returned with
/// its number.
fn first_of_another_namespace() -> (Child, String) {
    let script = "echo; exec sleep 60";
    let mut parent = Command::new("unshare")
        .args(["--pid", "--fork", "--kill-child", "sh", "-c", script])
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut begun = [0];
    let output = parent.stdout.as_mut().unwrap();
    io::Read::read_exact(output, &mut begun).unwrap();
    let children = format!("/proc/{0}/task/{0}/children", parent.id());
    let number = fs::read_to_string(children).unwrap().trim().to_owned();
    (parent, number)
}

/// This very test again, as the first process of a pid namespace of its own, under the `/proc` of
/// the one above.
#[test]
fn under_the_proc_of_another_namespace_numbers_are_those_of_proc() {
    const INSIDE: &str = "IMPRINT_TEST_INSIDE";
    const BESIDE: &str = "IMPRINT_TEST_BESIDE";
    if std::env::var_os(INSIDE).is_none() {
        let name = "process::tests::under_the_proc_of_another_namespace_numbers_are_those_of_proc";
        let (mut beside, number) = first_of_another_namespace();
        let inside = Command::new("unshare")
            .args(["--pid", "--fork"])
            .arg(std::env::current_exe().unwrap())
            .args(["--exact", name])
            .env(INSIDE, "1")
            .env(BESIDE, number)
            .output()
            .unwrap();
        beside.kill().unwrap();
        beside.wait().unwrap();
        let told = String::from_utf8_lossy(&inside.stdout);
        assert!(
            inside.status.success() && told.contains("1 passed"),
            "{told}"
        );
        return;
    }
    assert_eq!(std::process::id(), 1);
    assert_ne!(own_number().unwrap(), 1);
    let mut child = sleeper();
    let held = hold_child(child.id()).unwrap();
    let number = number_of(&held).unwrap();
    assert_ne!(number, child.id());
    assert!(start_time(number).unwrap() >= start_time(own_number().unwrap()).unwrap());
    assert!(hold(number).unwrap().is_some());
    // The first process of the host, which is not this one although that is process 1 too.
    assert_eq!(hold(1).unwrap_err().kind(), io::ErrorKind::Unsupported);
    // One of a namespace beside this one, which the test above has started.
    let beside: u32 = std::env::var(BESIDE).unwrap().parse().unwrap();
    assert_eq!(hold(beside).unwrap_err().kind(), io::ErrorKind::Unsupported);
    child.kill().unwrap();
    child.wait().unwrap();
}

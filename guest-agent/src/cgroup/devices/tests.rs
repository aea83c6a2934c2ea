use agent_client::oci::{LinuxDevice, LinuxDeviceCgroup};

use super::{
    program::{
        AND, COPY, EXIT, GO, LOAD_WORD, SET, SHIFT_RIGHT, UNLESS_COMMON_BITS, UNLESS_EQUAL,
        instructions,
    },
    *,
};

const BLOCK: u32 = 1;
const CHARACTER: u32 = 2;

fn rule(allow: bool, kind: &str, major: i64, minor: i64, access: &str) -> LinuxDeviceCgroup {
    LinuxDeviceCgroup {
        Allow: allow,
        Type: kind.into(),
        Major: major,
        Minor: minor,
        Access: access.into(),
        ..Default::default()
    }
}

fn rules(wanted: &[LinuxDeviceCgroup]) -> Rules {
    Rules::new(wanted, &[], &HashMap::new()).unwrap()
}

/// Runs the program as the kernel would.
fn allowed(rules: &Rules, kind: u32, major: u32, minor: u32, access: u32) -> bool {
    let context = [kind | access << 16, major, minor];
    let program = instructions(rules);
    let mut registers = [0_u64; 6];
    let mut at = 0_i64;
    for _ in 0..program.len() {
        let one = program[usize::try_from(at).unwrap()];
        let (to, from) = (
            usize::from(one.registers & 15),
            usize::from(one.registers >> 4),
        );
        let immediate = i64::from(one.immediate).cast_unsigned();
        let value = registers[to];
        let mut jump = false;
        match one.code {
            LOAD_WORD => registers[to] = context[usize::try_from(one.offset).unwrap() / 4].into(),
            COPY => registers[to] = registers[from],
            SET => registers[to] = immediate,
            AND => registers[to] = value & immediate,
            SHIFT_RIGHT => registers[to] = value >> immediate,
            UNLESS_EQUAL => jump = value != immediate,
            UNLESS_COMMON_BITS => jump = value & immediate != 0,
            GO => jump = true,
            EXIT => return registers[0] != 0,
            other => panic!("{other:#x}"),
        }
        at += 1 + if jump { one.offset.into() } else { 0 };
    }
    panic!("it does not end");
}

#[test]
fn without_rules_a_container_has_what_everybody_has() {
    for wanted in [vec![], vec![rule(false, "a", -1, -1, "rwm")]] {
        let rules = rules(&wanted);
        for (kind, major, minor, access, yes) in [
            (CHARACTER, 1, 3, READ | WRITE, true),
            (CHARACTER, 1, 9, READ | WRITE | MAKE_NODE, true),
            (CHARACTER, 136, 7, READ | WRITE, true),
            (CHARACTER, 5, 2, READ | WRITE, true),
            (CHARACTER, 10, 200, READ | WRITE, true),
            // /dev/mem, /dev/kmsg, /dev/vport0p1
            (CHARACTER, 1, 1, READ, false),
            (CHARACTER, 1, 11, WRITE, false),
            (CHARACTER, 247, 1, WRITE, false),
            (BLOCK, 254, 0, READ, false),
            (BLOCK, 254, 0, WRITE, false),
            (BLOCK, 1, 3, READ, false),
            (BLOCK, 254, 0, MAKE_NODE, true),
            (CHARACTER, 247, 1, MAKE_NODE, true),
            (BLOCK, 254, 0, MAKE_NODE | READ, false),
            (BLOCK, 254, 0, 0, true),
        ] {
            assert_eq!(
                allowed(&rules, kind, major, minor, access),
                yes,
                "{kind} {major}:{minor} {access}"
            );
        }
    }
}

#[test]
fn what_is_privileged_needs_no_program() {
    let everything = rules(&[
        rule(false, "a", -1, -1, "rwm"),
        rule(true, "a", -1, -1, "rwm"),
    ]);
    assert_eq!(
        everything,
        Rules {
            allow: true,
            list: vec![]
        }
    );
    assert!(allowed(&everything, BLOCK, 254, 0, ALL));
}

#[test]
fn the_last_rule_decides_about_each_kind_of_access() {
    let rules = rules(&[
        rule(false, "a", -1, -1, "rwm"),
        rule(true, "c", 10, 229, "r"),
        rule(true, "c", 10, 229, "w"),
        rule(true, "c", 10, -1, "m"),
        rule(true, "c", 188, -1, "rw"),
        rule(false, "c", 188, 3, "w"),
    ]);
    assert!(allowed(&rules, CHARACTER, 10, 229, READ | WRITE));
    assert!(!allowed(&rules, CHARACTER, 10, 230, READ));
    assert!(allowed(&rules, CHARACTER, 188, 2, READ | WRITE));
    assert!(allowed(&rules, CHARACTER, 188, 3, READ));
    assert!(!allowed(&rules, CHARACTER, 188, 3, READ | WRITE));
}

#[test]
fn a_disk_is_named_by_its_number_in_the_guest() {
    let node = |path: &str, minor| LinuxDevice {
        Path: path.into(),
        Type: "b".into(),
        Major: 8,
        Minor: minor,
        ..Default::default()
    };
    let disks = [
        ("/dev/a", (254, 16)),
        ("/dev/b", (254, 32)),
        ("/dev/c", (254, 48)),
    ]
    .map(|(path, numbers)| (path.to_owned(), numbers))
    .into();
    let wanted = [
        rule(true, "b", 8, 0, "r"),
        rule(true, "b", 8, 16, "rwm"),
        rule(true, "b", 254, 0, "rwm"),
    ];
    let nodes = [node("/dev/a", 0), node("/dev/b", 16), node("/dev/c", 99)];
    let rules = Rules::new(&wanted, &nodes, &disks).unwrap();
    for (major, minor, access, yes) in [
        (254, 16, READ, true),
        (254, 16, READ | WRITE, false),
        (254, 32, READ | WRITE, true),
        (254, 48, READ | WRITE, true),
        (8, 0, READ, false),
        (8, 16, READ, false),
        (254, 0, READ, false),
    ] {
        assert_eq!(
            allowed(&rules, BLOCK, major, minor, access),
            yes,
            "{major}:{minor} {access}"
        );
    }
}

#[test]
fn rules_that_decide_nothing_make_no_other_program() {
    // As ctr has them.
    let usual = rules(&[]);
    let told = rules(&[
        rule(false, "a", -1, -1, "rwm"),
        rule(true, "c", 1, 3, "rwm"),
        rule(true, "c", 136, -1, "rwm"),
        rule(true, "c", 136, 5, "rw"),
        rule(true, "c", 5, 2, "rwm"),
        rule(false, "c", 1, 3, "w"),
        rule(true, "c", -1, -1, "m"),
    ]);
    assert_eq!(told, usual);
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
fn nonsense_is_refused() {
    for wanted in [rule(true, "x", 1, 1, "r"), rule(true, "c", 1, 1, "rx")] {
        assert!(Rules::new(&[wanted], &[], &HashMap::new()).is_err());
    }
    let many = vec![rule(true, "c", 1, 1, "r"); MOST + 1];
    assert!(Rules::new(&many, &[], &HashMap::new()).is_err());
}

#[test]
fn a_process_enters_the_prepared_group_or_fails() {
    let root = tempfile::tempdir().unwrap();
    enter_below(root.path()).expect("nothing is enforced in a hierarchy of version 1");
    fs::write(root.path().join("cgroup.controllers"), "memory pids").unwrap();
    let error = enter_below(root.path()).unwrap_err().chain();
    assert!(error.contains(PREPARED), "{error}");
    let group = root.path().join(PREPARED);
    fs::create_dir(&group).unwrap();
    enter_below(root.path()).expect_err("a directory is no group");
    let processes = group.join("cgroup.procs");
    fs::write(&processes, "").unwrap();
    enter_below(root.path()).unwrap();
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

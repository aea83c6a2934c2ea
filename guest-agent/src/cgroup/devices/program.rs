//! Device rules as a BPF program (Documentation/bpf/instruction-set.rst).
//!
//! The kernel calls it with the type of a device, its numbers and the access that is wanted; it
//! returns 1 to allow the access. It goes through the rules from the last to the first. A rule that
//! allows removes its bits from the wanted access; the program returns 1 when no bit is left, and 0
//! when a rule forbids one that is.

use super::rules::{DeviceRules, Kind, Rule};
use crate::syscalls::Instruction;

/// Registers: the result, the context, and what is loaded from the context.
const RESULT: u8 = 0;
const CONTEXT: u8 = 1;
const KIND: u8 = 2;
/// The bits of the wanted access that no rule has allowed yet.
const ACCESS: u8 = 3;
const MAJOR: u8 = 4;
const MINOR: u8 = 5;

/// Operations. Each jump goes over as many instructions as its offset says.
pub(super) const LOAD_WORD: u8 = 0x61;
pub(super) const COPY: u8 = 0xbf;
pub(super) const SET: u8 = 0xb7;
pub(super) const AND: u8 = 0x57;
pub(super) const SHIFT_RIGHT: u8 = 0x77;
pub(super) const JUMP_UNLESS_EQUAL: u8 = 0x55;
pub(super) const JUMP_IF_COMMON_BITS: u8 = 0x45;
pub(super) const JUMP: u8 = 0x05;
pub(super) const EXIT: u8 = 0x95;

/// The types of devices: `BPF_DEVCG_DEV_*` (Linux, include/uapi/linux/bpf.h).
const BLOCK: i32 = 1;
const CHARACTER: i32 = 2;

fn instruction(code: u8, register: u8, source: u8, offset: i16, immediate: i32) -> Instruction {
    Instruction {
        code,
        registers: register | source << 4,
        offset,
        immediate,
    }
}

fn give_result(allow: bool) -> [Instruction; 2] {
    [
        instruction(SET, RESULT, 0, 0, i32::from(allow)),
        instruction(EXIT, 0, 0, 0, 0),
    ]
}

/// The program that enforces `rules`.
pub(super) fn instructions(rules: &DeviceRules) -> Vec<Instruction> {
    // struct bpf_cgroup_dev_ctx: a word with the wanted access in its upper half and the type in
    // its lower half, then the major and the minor number.
    let mut program = vec![
        instruction(LOAD_WORD, KIND, CONTEXT, 0, 0),
        instruction(COPY, ACCESS, KIND, 0, 0),
        instruction(AND, KIND, 0, 0, 0xffff),
        instruction(SHIFT_RIGHT, ACCESS, 0, 0, 16),
        instruction(LOAD_WORD, MAJOR, CONTEXT, 4, 0),
        instruction(LOAD_WORD, MINOR, CONTEXT, 8, 0),
        // No access is wanted when a program only checks that the file exists.
        instruction(JUMP_UNLESS_EQUAL, ACCESS, 0, 2, 0),
    ];
    program.extend(give_result(true));
    for rule in rules.list.iter().rev() {
        program.extend(apply(rule));
    }
    program.extend(give_result(rules.allow));
    program
}

fn apply(rule: &Rule) -> Vec<Instruction> {
    let kind = match rule.kind {
        Kind::Block => BLOCK,
        Kind::Character => CHARACTER,
    };
    let mut conditions = vec![(KIND, kind)];
    for (register, number) in [(MAJOR, rule.major), (MINOR, rule.minor)] {
        conditions.extend(number.map(|number| (register, number.cast_signed())));
    }
    let access = rule.access.cast_signed();
    let mut consequence = if rule.allow {
        vec![
            instruction(AND, ACCESS, 0, 0, !access),
            instruction(JUMP_UNLESS_EQUAL, ACCESS, 0, 2, 0),
        ]
    } else {
        vec![
            instruction(JUMP_IF_COMMON_BITS, ACCESS, 0, 1, access),
            instruction(JUMP, 0, 0, 2, 0),
        ]
    };
    consequence.extend(give_result(rule.allow));
    let mut program = Vec::new();
    for (position, (register, number)) in conditions.iter().enumerate() {
        // Over the other conditions and the consequence.
        let over = conditions.len() - position - 1 + consequence.len();
        // A few instructions at most. The kernel would refuse a jump behind the program's end.
        let over = i16::try_from(over).unwrap_or(i16::MAX);
        program.push(instruction(JUMP_UNLESS_EQUAL, *register, 0, over, *number));
    }
    program.extend(consequence);
    program
}

#[cfg(test)]
mod tests {
    use agent_client::oci::LinuxDevice;

    use super::{
        super::rules::{
            ALL, MAKE_NODE, READ, WRITE,
            tests::{rule, rules},
        },
        *,
    };

    const BLOCK: u32 = 1;
    const CHARACTER: u32 = 2;

    /// Runs the program as the kernel would.
    fn allowed(rules: &DeviceRules, kind: u32, major: u32, minor: u32, access: u32) -> bool {
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
                LOAD_WORD => {
                    registers[to] = context[usize::try_from(one.offset).unwrap() / 4].into()
                }
                COPY => registers[to] = registers[from],
                SET => registers[to] = immediate,
                AND => registers[to] = value & immediate,
                SHIFT_RIGHT => registers[to] = value >> immediate,
                JUMP_UNLESS_EQUAL => jump = value != immediate,
                JUMP_IF_COMMON_BITS => jump = value & immediate != 0,
                JUMP => jump = true,
                EXIT => return registers[0] != 0,
                other => panic!("{other:#x}"),
            }
            at += 1 + if jump { one.offset.into() } else { 0 };
        }
        panic!("the program does not end");
    }

    #[test]
    fn without_rules_a_container_has_the_default_devices() {
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
    fn a_privileged_container_may_use_every_device() {
        let everything = rules(&[
            rule(false, "a", -1, -1, "rwm"),
            rule(true, "a", -1, -1, "rwm"),
        ]);
        assert_eq!(
            everything,
            DeviceRules {
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
        let rules = DeviceRules::new(&wanted, &nodes, &disks).unwrap();
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
}

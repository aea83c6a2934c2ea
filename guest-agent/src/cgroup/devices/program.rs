//! Rules as a program of the kernel's virtual machine (Documentation/bpf, instruction-set.rst).
//!
//! It is called with the type of the device, its numbers and what is to be done with it, and returns 1 to
//! allow that. The rules are looked at from the last to the first. One that allows takes what it allows
//! off what is to be done; the answer is yes when nothing is left, no when a rule forbids some of it.

use super::{Kind, Rule, Rules};
use crate::raw::Instruction;

/// Registers: the result, the context, and what is loaded from it.
const RESULT: u8 = 0;
const CONTEXT: u8 = 1;
const KIND: u8 = 2;
const LEFT: u8 = 3;
const MAJOR: u8 = 4;
const MINOR: u8 = 5;

/// Operations: class, source and kind in one byte.
pub(super) const LOAD_WORD: u8 = 0x61;
pub(super) const COPY: u8 = 0xbf;
pub(super) const SET: u8 = 0xb7;
pub(super) const AND: u8 = 0x57;
pub(super) const SHIFT_RIGHT: u8 = 0x77;
pub(super) const UNLESS_EQUAL: u8 = 0x55;
pub(super) const UNLESS_COMMON_BITS: u8 = 0x45;
pub(super) const GO: u8 = 0x05;
pub(super) const EXIT: u8 = 0x95;

/// `BPF_DEVCG_DEV_*` (Linux, include/uapi/linux/bpf.h).
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

fn answer(yes: bool) -> [Instruction; 2] {
    [
        instruction(SET, RESULT, 0, 0, i32::from(yes)),
        instruction(EXIT, 0, 0, 0, 0),
    ]
}

/// The program that enforces `rules`.
pub(super) fn instructions(rules: &Rules) -> Vec<Instruction> {
    // struct bpf_cgroup_dev_ctx: what is to be done in the upper half and the type in the lower half of a
    // word, then the numbers.
    let mut program = vec![
        instruction(LOAD_WORD, KIND, CONTEXT, 0, 0),
        instruction(COPY, LEFT, KIND, 0, 0),
        instruction(AND, KIND, 0, 0, 0xffff),
        instruction(SHIFT_RIGHT, LEFT, 0, 0, 16),
        instruction(LOAD_WORD, MAJOR, CONTEXT, 4, 0),
        instruction(LOAD_WORD, MINOR, CONTEXT, 8, 0),
        // To look whether a file is there is nothing that a rule forbids.
        instruction(UNLESS_EQUAL, LEFT, 0, 2, 0),
    ];
    program.extend(answer(true));
    for rule in rules.list.iter().rev() {
        program.extend(one(rule));
    }
    program.extend(answer(rules.allow));
    program
}

fn one(rule: &Rule) -> Vec<Instruction> {
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
            instruction(AND, LEFT, 0, 0, !access),
            instruction(UNLESS_EQUAL, LEFT, 0, 2, 0),
        ]
    } else {
        vec![
            instruction(UNLESS_COMMON_BITS, LEFT, 0, 1, access),
            instruction(GO, 0, 0, 2, 0),
        ]
    };
    consequence.extend(answer(rule.allow));
    let mut program = Vec::new();
    for (position, (register, number)) in conditions.iter().enumerate() {
        // Over the other conditions and the consequence.
        let over = conditions.len() - position - 1 + consequence.len();
        // A handful at most; a jump that were too far would be one that the kernel refuses.
        let over = i16::try_from(over).unwrap_or(i16::MAX);
        program.push(instruction(UNLESS_EQUAL, *register, 0, over, *number));
    }
    program.extend(consequence);
    program
}

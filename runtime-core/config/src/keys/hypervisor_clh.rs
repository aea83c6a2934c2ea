//! The keys of `[hypervisor.clh]` alone.

use super::{
    super::schema::{
        Key,
        Kind::{Bool, TextList},
        Section,
    },
    hypervisor::COMMON,
    read,
};

pub const CLH: Section = Section {
    name: "[hypervisor.clh]",
    keys: &[COMMON, KEYS],
    tables: &["factory"],
};

const KEYS: &[Key] = &[
    read("disable_seccomp", Bool),
    read("disable_nested_virtualization", Bool),
    read("enable_landlock", Bool),
    read("landlock_paths", TextList),
];

//! The keys of `[hypervisor.clh]` alone.

use super::{
    super::schema::{Key, Kind::Bool, Section},
    hypervisor::COMMON,
    unused,
};

pub const CLH: Section = Section {
    name: "[hypervisor.clh]",
    keys: &[COMMON, KEYS],
    tables: &["factory"],
};

const KEYS: &[Key] = &[
    unused(
        "disable_seccomp",
        Bool,
        "Cloud Hypervisor always confines itself",
    ),
    unused(
        "disable_nested_virtualization",
        Bool,
        "it is chosen for you",
    ),
];

//! The keys of `[hypervisor.clh]` alone.

use super::{
    super::{
        key::Key,
        schema::{Rule, Section},
    },
    hypervisor,
};

pub const SECTION: Section = Section {
    name: "[hypervisor.clh]",
    keys: &[hypervisor::READ, hypervisor::OTHER, READ],
};

read_keys! { READ {
    DISABLE_SECCOMP: bool = Key::switch("disable_seccomp");
    DISABLE_NESTED_VIRTUALIZATION: bool = Key::switch("disable_nested_virtualization");
    ENABLE_LANDLOCK: bool = Key::switch("enable_landlock");
    LANDLOCK_PATHS: [String] = Key::texts("landlock_paths");
} }

//! The keys of `[factory]`.

use std::path::Path as FilePath;

use super::{
    super::{
        key::Key,
        schema::{Kind::Path, Rule, Section},
        tree::Table,
    },
    hypervisor::MAX_MEMORY_MIB,
    number, unused,
};

/// Kata's Go runtime has the factory at the top.
pub const SECTION: Section = Section {
    name: "[factory]",
    keys: &[READ, OTHER],
};
/// Kata's Rust runtime has it within the hypervisor.
pub const WITHIN_QEMU: Section = Section {
    name: "[hypervisor.qemu.factory]",
    ..SECTION
};
/// The same for Cloud Hypervisor, as [`WITHIN_QEMU`].
pub const WITHIN_CLH: Section = Section {
    name: "[hypervisor.clh.factory]",
    ..SECTION
};

read_keys! { READ {
    ENABLE_TEMPLATE: bool = Key::switch("enable_template");
    TEMPLATE_PATH: FilePath = Key::path("template_path");
    RESTORE_TIMEOUT_MS: u64 = Key::count("restore_timeout_ms", 100, 10 * 60 * 1000);
    SHAPE: [Table] = Key::tables("shape");
} }

const OTHER: &[Rule] = &[
    number(
        "vm_cache_number",
        0,
        "VMs are not kept waiting; write 0, and see enable_template",
    ),
    unused("vm_cache_endpoint", Path, "VMs are not kept waiting"),
];

/// A size that a template is made in.
pub const SHAPE_SECTION: Section = Section {
    name: "[[factory.shape]]",
    keys: &[SHAPE_KEYS],
};
read_keys! { SHAPE_KEYS {
    VCPUS: u64 = Key::count("vcpus", 1, 256);
    MEMORY: u64 = Key::count("memory", 64, MAX_MEMORY_MIB as i64);
} }

//! The keys of the configuration: Kata's, and a few of our own.
//!
//! A key that is read is declared by [`read_keys`], in the module of its table. It has to be in
//! `configuration.toml` as well. All others are in plain lists, with what is done with their
//! values.

/// Declares keys that are read: a constant for each, by which its value is read, and the list of
/// all of them, by which a table is checked.
macro_rules! read_keys {
    ($list:ident { $($(#[$doc:meta])* $name:ident: $value:ty = $key:expr;)+ }) => {
        $($(#[$doc])* pub const $name: Key<$value> = $key;)+
        pub const $list: &[Rule] = &[$($name.rule()),+];
    };
}

pub mod agent;
pub mod factory;
pub mod hypervisor;
pub mod hypervisor_clh;
pub mod hypervisor_qemu;
pub mod runtime;

use hypervisors::VmmKind;

use super::{
    key::{Choice, Key},
    schema::{
        Kind::{self, Bool, Int},
        Nothing, Rule, Section, Use,
    },
    tree::Table,
};

/// The tables at the top of the file.
pub const ROOT: Section = Section {
    name: "the file",
    keys: &[ROOT_TABLES],
};
read_keys! { ROOT_TABLES {
    HYPERVISOR: Table = Key::table("hypervisor");
    FACTORY: Table = Key::table("factory");
    AGENT: Table = Key::table("agent");
    RUNTIME: Table = Key::table("runtime");
} }

/// The tables within `[hypervisor]`.
pub const HYPERVISORS: Section = Section {
    name: "[hypervisor]",
    keys: &[HYPERVISOR_TABLES],
};
read_keys! { HYPERVISOR_TABLES {
    QEMU: Table = Key::table(VmmKind::Qemu.id());
    CLH: Table = Key::table(VmmKind::Clh.id());
} }

/// The tables within `[agent]`.
pub const AGENTS: Section = Section {
    name: "[agent]",
    keys: &[AGENT_TABLES],
};
read_keys! { AGENT_TABLES {
    KATA: Table = Key::table("kata");
} }

/// How the configuration describes one VMM.
pub struct VmmTables {
    /// The table within `[hypervisor]`.
    pub table: Key<Table>,
    /// The keys of that table.
    pub section: &'static Section,
    /// The keys of `factory` within that table.
    pub factory: &'static Section,
}

/// The tables of this VMM.
pub const fn vmm(kind: VmmKind) -> VmmTables {
    match kind {
        VmmKind::Qemu => VmmTables {
            table: QEMU,
            section: &hypervisor_qemu::SECTION,
            factory: &factory::WITHIN_QEMU,
        },
        VmmKind::Clh => VmmTables {
            table: CLH,
            section: &hypervisor_clh::SECTION,
            factory: &factory::WITHIN_CLH,
        },
    }
}

impl Choice for VmmKind {
    const WORDS: &'static [(&'static str, Self)] =
        &[(Self::Qemu.id(), Self::Qemu), (Self::Clh.id(), Self::Clh)];
}

/// Any integer that is not negative.
const COUNT: Kind = Int(0, i64::MAX);

/// A switch that must have this value.
const fn fixed(name: &'static str, value: bool, why: &'static str) -> Rule {
    Rule {
        name,
        kind: Bool,
        use_: Use::Only(Nothing::Is(value), why),
    }
}

/// A string, path or list that must be empty.
const fn empty(name: &'static str, kind: Kind, why: &'static str) -> Rule {
    Rule {
        name,
        kind,
        use_: Use::Only(Nothing::Empty, why),
    }
}

/// A number that must be this one.
const fn number(name: &'static str, value: i64, why: &'static str) -> Rule {
    Rule {
        name,
        kind: COUNT,
        use_: Use::Only(Nothing::Number(value), why),
    }
}

/// A word that must be one of these.
const fn words(name: &'static str, harmless: &'static [&'static str], why: &'static str) -> Rule {
    Rule {
        name,
        kind: Kind::Text,
        use_: Use::Only(Nothing::Words(harmless), why),
    }
}

/// A key without effect.
const fn unused(name: &'static str, kind: Kind, why: &'static str) -> Rule {
    Rule {
        name,
        kind,
        use_: Use::Unused(why),
    }
}

//! The keys of the configuration: Kata's, and a few of our own.

mod agent;
mod hypervisor;
mod hypervisor_clh;
mod hypervisor_qemu;
mod runtime;

use super::schema::{
    Key,
    Kind::{self, Bool, Int},
    Nothing, Section, Use,
};

pub use agent::{AGENT_KATA, MEM_AGENT};
pub use hypervisor::MAX_MEMORY_MIB;
pub use hypervisor_clh::CLH;
pub use hypervisor_qemu::{MAX_ROOT_PORTS, QEMU};
pub use runtime::{CLH_FACTORY, FACTORY, FACTORY_SHAPE, QEMU_FACTORY, RUNTIME};

/// The tables at the top.
pub const ROOT: Section = Section {
    name: "the file",
    keys: &[],
    tables: &["hypervisor", "factory", "agent", "runtime"],
};
/// The tables within `[hypervisor]`.
pub const HYPERVISORS: Section = Section {
    name: "[hypervisor]",
    keys: &[],
    tables: &["qemu", "clh"],
};
/// The tables within `[agent]`.
pub const AGENTS: Section = Section {
    name: "[agent]",
    keys: &[],
    tables: &["kata"],
};

/// Any integer that is not negative.
const COUNT: Kind = Int(0, i64::MAX);

/// A key that is read.
const fn read(name: &'static str, kind: Kind) -> Key {
    Key {
        name,
        kind,
        use_: Use::Read,
    }
}

/// A switch that must be left as it is here.
const fn fixed(name: &'static str, value: bool, why: &'static str) -> Key {
    Key {
        name,
        kind: Bool,
        use_: Use::Only(Nothing::Is(value), why),
    }
}

/// A string, path or list that must be empty.
const fn empty(name: &'static str, kind: Kind, why: &'static str) -> Key {
    Key {
        name,
        kind,
        use_: Use::Only(Nothing::Empty, why),
    }
}

/// A number that must be this one.
const fn number(name: &'static str, value: i64, why: &'static str) -> Key {
    Key {
        name,
        kind: COUNT,
        use_: Use::Only(Nothing::Number(value), why),
    }
}

/// A word that must be one of these.
const fn words(name: &'static str, harmless: &'static [&'static str], why: &'static str) -> Key {
    Key {
        name,
        kind: Kind::Text,
        use_: Use::Only(Nothing::Words(harmless), why),
    }
}

/// A key without effect.
const fn unused(name: &'static str, kind: Kind, why: &'static str) -> Key {
    Key {
        name,
        kind,
        use_: Use::Unused(why),
    }
}

//! The documented configuration has every key, and each value in it is the default.

use std::{path::Path, sync::Arc};

use super::{
    super::{
        keys,
        schema::{Kind, Section},
        tree::{self, Table, Value},
    },
    LEAST, Node, load_file,
};

fn documented() -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../configuration.toml");
    std::fs::read_to_string(path).unwrap()
}

#[test]
fn every_value_of_the_documented_file_is_the_default() {
    let node = Node::new();
    let main = node.write("documented/configuration.toml", &documented());
    // What it says is required.
    node.write("documented/config.d/least.toml", LEAST);
    let mut documented = load_file(&main).unwrap();
    assert_eq!(documented.warnings, [""; 0]);
    let default = node.load(LEAST).unwrap();
    documented.files.clone_from(&default.files);
    assert_eq!(format!("{documented:?}"), format!("{default:?}"));
}

#[test]
fn every_key_that_is_read_is_documented() {
    // Examples that are no defaults are commented out, and indented.
    let text = documented().replace("\n#   ", "\n");
    let file = tree::parse(&Arc::default(), &text).unwrap();
    let own = |section: &Section, of: &Section| {
        let theirs: Vec<_> = of.read().map(|key| key.name).collect();
        let own = section.read().filter(|key| !theirs.contains(&key.name));
        own.copied().collect::<Vec<_>>()
    };
    let all = |section: &Section| section.read().copied().collect::<Vec<_>>();
    let (qemu, clh) = (
        &keys::hypervisor_qemu::SECTION,
        &keys::hypervisor_clh::SECTION,
    );
    for (section, keys) in [
        (qemu, all(qemu)),
        // "Its keys are those above", that is, of QEMU.
        (clh, own(clh, qemu)),
        (&keys::factory::SECTION, all(&keys::factory::SECTION)),
        (
            &keys::factory::SHAPE_SECTION,
            all(&keys::factory::SHAPE_SECTION),
        ),
        (&keys::agent::SECTION, all(&keys::agent::SECTION)),
        (&keys::runtime::SECTION, all(&keys::runtime::SECTION)),
    ] {
        let table = table(&file, section.name);
        let values = keys.iter().filter(|key| !matches!(key.kind, Kind::Table));
        for key in values {
            let name = key.name;
            assert!(table.contains_key(name), "{name} of {}", section.name);
        }
    }
}

/// The table that is named so, as in `[agent.kata]`; of several, the first.
fn table<'a>(file: &'a Table, name: &str) -> &'a Table {
    let path = name.trim_matches(['[', ']']).split('.');
    path.fold(file, |table, part| match &table[part].value {
        Value::Table(table) => table,
        Value::List(tables) => match &tables[0] {
            Value::Table(table) => table,
            other => panic!("{name}: {other:?}"),
        },
        other => panic!("{name}: {other:?}"),
    })
}

//! The documented default is what it says.

use std::path::Path;

use super::{LEAST, Node, load_file};

#[test]
fn every_value_of_the_documented_file_is_the_default() {
    let documented = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../configuration.toml");
    let text = std::fs::read_to_string(documented).unwrap();
    let node = Node::new();
    let main = node.write("documented/configuration.toml", &text);
    // What it says is required.
    node.write("documented/config.d/least.toml", LEAST);
    let mut documented = load_file(&main).unwrap();
    assert_eq!(documented.warnings, [""; 0]);
    let default = node.load(LEAST).unwrap();
    documented.files.clone_from(&default.files);
    assert_eq!(format!("{documented:?}"), format!("{default:?}"));
}

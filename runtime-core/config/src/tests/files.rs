//! Which files are read, and how they are laid on each other.

use std::{fs, os::unix::fs::symlink, path::Path};

use super::{super::source, LEAST, Node, chain, with};

#[test]
fn the_one_that_is_named_wins() {
    let node = Node::new();
    let (one, two, three) = (
        node.write("one.toml", LEAST),
        node.write("two.toml", LEAST),
        node.write("three.toml", LEAST),
    );
    let defaults = [Path::new("/nowhere/x.toml"), &three];
    let environment = || Some(two.clone().into_os_string());
    let read = |explicit, environment| {
        source::read(explicit, environment, &defaults)
            .unwrap()
            .files
            .remove(0)
    };
    assert_eq!(read(Some(one.as_path()), environment()), one);
    assert_eq!(read(None, environment()), two);
    assert_eq!(read(None, Some("".into())), three);
    assert_eq!(read(None, None), three);
}

#[test]
fn a_missing_file_is_named() {
    let node = Node::new();
    let defaults = [Path::new("/nowhere/a.toml"), Path::new("/nowhere/b.toml")];
    let error = source::read(None, None, &defaults).err().unwrap();
    assert_eq!(
        error.to_string(),
        "No configuration file found at /nowhere/a.toml, /nowhere/b.toml"
    );
    let named = node.path("none.toml");
    let error = source::read(Some(&named), None, &defaults).err().unwrap();
    assert_eq!(
        chain(&error),
        format!(
            "Configuration {} cannot be read: No such file or directory (os error 2)",
            named.display()
        )
    );
}

#[test]
fn drop_ins_beside_the_resolved_file_are_laid_over_it_in_order() {
    let node = Node::new();
    node.write(
        "real/configuration.toml",
        &with("default_memory = 100\nkernel_params = \"a\"\n"),
    );
    node.write(
        "real/config.d/20-b.toml",
        "[hypervisor.qemu]\ndefault_memory = 300\n",
    );
    node.write(
        "real/config.d/10-a.toml",
        "[hypervisor.qemu]\ndefault_memory = 200\nenable_annotations = [\"x\"]\n\
         [factory]\nenable_template = true\n",
    );
    node.write("real/config.d/30-c.toml.rpmsave", "no toml at all");
    node.write(
        "config.d/99-not-this.toml",
        "[hypervisor.qemu]\ndefault_memory = 999\n",
    );
    symlink("real/configuration.toml", node.path("configuration.toml")).unwrap();

    let config = node.reload().unwrap();
    assert_eq!(config.hypervisor.memory_mib, 300);
    assert_eq!(config.hypervisor.kernel_params, "a");
    assert!(config.factory.enable_template);
    let names: Vec<_> = config
        .files
        .iter()
        .map(|file| file.file_name().unwrap().to_str().unwrap())
        .collect();
    assert_eq!(names, ["configuration.toml", "10-a.toml", "20-b.toml"]);
}

#[test]
fn a_mistake_in_a_drop_in_names_the_drop_in() {
    let node = Node::new();
    node.write(
        "config.d/10.toml",
        "[hypervisor.qemu]\n\nshared_fs = \"virtio-fs\"\n",
    );
    let said = node.complaint(LEAST);
    assert!(
        said.starts_with("@/config.d/10.toml:3: shared_fs = "),
        "{said}"
    );
    node.write(
        "config.d/10.toml",
        "[hypervisor.qemu]\n\nimage = \"@/image.raw\"\n",
    );
    let said = node.complaint(LEAST);
    assert!(said.starts_with("@/config.d/10.toml:3: image = "), "{said}");
    node.write(
        "config.d/10.toml",
        "[hypervisor.qemu]\ninitrd = \"\"\nimage = \"@/image.raw\"\n",
    );
    node.load(LEAST).unwrap();
}

#[test]
fn drop_ins_are_bounded() {
    let node = Node::new();
    for i in 0..300 {
        node.write(&format!("config.d/{i}.toml"), "");
    }
    assert_eq!(
        node.complaint(LEAST),
        "Configuration @/config.d is too large: more than 256 drop-ins"
    );
    fs::remove_dir_all(node.path("config.d")).unwrap();
    node.load(LEAST).unwrap();
}

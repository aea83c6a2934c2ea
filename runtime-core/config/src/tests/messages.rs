//! What is said of bad configurations, word for word.

use std::{fs, time::Instant};

use proptest::prelude::*;

use super::{super::source::MAX_FILE, LEAST, Node, chain, with};

/// Each with what is said after the file's name.
#[test]
fn each_mistake_is_named_with_its_line() {
    let node = Node::new();
    for (more, said) in [
        (
            "defualt_memory = 512",
            ":5: Unknown key defualt_memory in [hypervisor.qemu]; did you mean default_memory?",
        ),
        ("zebra = 1", ":5: Unknown key zebra in [hypervisor.qemu]"),
        (
            "[factory]\nenable_templat = true",
            ":6: Unknown key enable_templat in [factory]; did you mean enable_template?",
        ),
        (
            "[factroy]\n",
            ":5: Unknown key factroy in the file; did you mean factory?",
        ),
        (
            "[hypervisor.qemuu]\n",
            ":5: Unknown key qemuu in [hypervisor]; did you mean qemu?",
        ),
        ("[agent.rust]\n", ":5: Unknown key rust in [agent]"),
        (
            "default_memory = \"512\"",
            ":5: default_memory must be an integer, not a string",
        ),
        (
            "enable_debug = 1",
            ":5: enable_debug must be true or false, not an integer",
        ),
        ("factory = 1", ":5: factory must be a table, not an integer"),
        (
            "enable_annotations = [1]",
            ":5: enable_annotations must be an array of strings, not an array",
        ),
        (
            "enable_annotations = [\"(\"]",
            ":5: enable_annotations = an array: \"(\" is not a regular expression",
        ),
        (
            "default_memory = 0",
            ":5: default_memory = 0: Must be from 64 to 4194304",
        ),
        (
            "default_memory = 99999999999999999999",
            ":5: default_memory must be an integer, not a number beyond 64 bits",
        ),
        (
            "[runtime]\nrun_root = \"/a/path/of/26/bytes/in/all\"",
            ":6: run_root = \"/a/path/of/26/bytes/in/all\": The paths of pods' sockets below it \
             would be too long (unix(7)): it may have 22 bytes and has 26, 4 too many",
        ),
        (
            "default_vcpus = nan",
            ":5: default_vcpus = NaN: Must be finite",
        ),
        (
            "accelerator = \"hvf\"",
            ":5: accelerator = \"hvf\": Must be one of auto, kvm, tcg",
        ),
        (
            "agent_channel = \"serial\"",
            ":5: agent_channel = \"serial\": Must be one of virtio-serial, vsock",
        ),
        (
            "machine_type = \"microvm\"",
            ":5: machine_type = \"microvm\": Must be q35 or a version of it (pc-q35-...): devices \
             are attached to its PCI Express root ports",
        ),
        (
            "kernel_params = \"a\\nb\"",
            ":5: kernel_params = \"a\\nb\": Contains the character \\n",
        ),
        (
            "shared_fs = \"virtio-fs\"",
            ":5: shared_fs = \"virtio-fs\": Not supported: a VM restored from a template cannot \
             share a directory with the host, since the other side would not see the clone's \
             private memory; root file systems are passed as disks. Write shared_fs = \"none\" or \
             remove the key",
        ),
        (
            "enable_hugepages = true",
            ":5: enable_hugepages = true: Not supported: templates live on tmpfs; write false",
        ),
        (
            "image = \"@/image.raw\"",
            ":5: image = \"@/image.raw\": initrd is set as well; remove one of them",
        ),
        (
            "[factory]\ntemplate_path = \"@/vmlinux\"",
            ":6: template_path = \"@/vmlinux\": Not a directory",
        ),
        (
            "[factory]\ntemplate_path = \"relative\"",
            ":6: template_path = \"relative\": Must be an absolute path",
        ),
        (
            "[factory]\nvm_cache_number = 2",
            ":6: vm_cache_number = 2: Not supported: VMs are not kept waiting; write 0, and see \
             enable_template",
        ),
        (
            "[factory]\nenable_template = true\n[hypervisor.qemu.factory]\nenable_template = false",
            ":8: enable_template = false: @/configuration.toml:6 sets another value; remove one of \
             them",
        ),
        (
            "[runtime]\nhypervisor_name = \"clh\"",
            ":6: hypervisor_name = \"clh\": There is no [hypervisor.clh]",
        ),
        (
            "default_memory = 1\ndefault_memory = 2",
            ":6: duplicate key",
        ),
    ] {
        let said = format!("@/configuration.toml{said}");
        assert_eq!(node.complaint(&with(more)), said, "{more}");
    }
}

#[test]
fn what_is_missing_is_named() {
    let node = Node::new();
    for (text, said) in [
        (
            "",
            ": There is no [hypervisor.qemu] and no [hypervisor.clh]",
        ),
        (
            "[hypervisor.qemu]\npath = \"@/qemu\"\ninitrd = \"@/initrd.img\"\n",
            ": [hypervisor.qemu] has no kernel",
        ),
        (
            "[hypervisor.qemu]\npath = \"@/qemu\"\nkernel = \"@/vmlinux\"\nimage = \"\"",
            ": [hypervisor.qemu] has neither initrd nor image",
        ),
        (
            "[hypervisor.qemu]\npath = \"@/none\"\n",
            ":2: path = \"@/none\": No such file or directory (os error 2)",
        ),
        (
            "[hypervisor.qemu]\npath = \"@/vmlinux\"\n",
            ":2: path = \"@/vmlinux\": The file is not executable",
        ),
        (
            "[hypervisor.qemu]\npath = \"@/qemu\"\nkernel = \"@/none\"\n",
            ":3: kernel = \"@/none\": No such file or directory (os error 2)",
        ),
        (
            "[hypervisor.qemu]\npath = \"@/qemu\"\nkernel = \"@\"\n",
            ":3: kernel = \"@\": Not a regular file",
        ),
    ] {
        assert_eq!(
            node.complaint(text),
            format!("@/configuration.toml{said}"),
            "{text}"
        );
    }
}

#[test]
fn what_is_no_toml_is_reported_with_its_line() {
    let node = Node::new();
    let said = node.complaint("[hypervisor.qemu]\npath = \n");
    assert!(said.starts_with("@/configuration.toml:2: "), "{said}");
    let said = node.complaint(&"[".repeat(100_000));
    assert!(said.len() < 1000, "{said}");
}

#[test]
fn what_is_too_large_is_refused_at_once() {
    let node = Node::new();
    let started = Instant::now();
    let said = node.complaint(&"# comment\n".repeat(5 << 20).split_off(1)[..5 << 20]);
    assert_eq!(
        said,
        "Configuration @/configuration.toml is too large: more than 1048576 bytes"
    );
    assert!(started.elapsed().as_secs() < 2);
    // As large as allowed is read.
    let filler = "#".repeat(MAX_FILE as usize - LEAST.len() - 1000);
    node.load(&format!("{LEAST}{filler}\n")).unwrap();
}

#[test]
fn a_file_that_never_ends_does_not_hold_a_start_up() {
    let node = Node::new();
    let fifo = node.path("configuration.toml");
    nix::unistd::mkfifo(&fifo, nix::sys::stat::Mode::from_bits_truncate(0o600)).unwrap();
    let said = chain(&node.reload().unwrap_err());
    assert!(said.contains("not a regular file"), "{said}");
    fs::remove_file(&fifo).unwrap();
    std::os::unix::fs::symlink("/dev/zero", &fifo).unwrap();
    assert!(node.reload().is_err());
}

/// Keys and values that come near to real ones.
fn line() -> impl Strategy<Value = String> {
    let key = prop::sample::select(vec![
        "kernel",
        "path",
        "initrd",
        "default_vcpus",
        "default_memory",
        "shared_fs",
        "factory",
        "enable_annotations",
        "enable_template",
        "template_path",
        "kernel_params",
        "accelerator",
    ]);
    let value = prop_oneof![
        any::<i64>().prop_map(|n| n.to_string()),
        any::<f64>().prop_map(|n| format!("{n:?}")),
        "\"[^\"\\\\]{0,20}\"",
        Just("[]".to_owned()),
        Just("{}".to_owned()),
        Just("[[1], {a = 2}]".to_owned()),
        Just("1979-05-27".to_owned()),
        Just("\"\\u0000/\"".to_owned()),
    ];
    let table = prop::sample::select(vec![
        "[hypervisor.qemu]",
        "[hypervisor.clh]",
        "[factory]",
        "[runtime]",
        "[agent.kata]",
        "[[hypervisor]]",
        "[hypervisor]",
    ]);
    prop_oneof![
        4 => (key, value).prop_map(|(key, value)| format!("{key} = {value}")),
        1 => table.prop_map(str::to_owned),
        1 => ".{0,30}",
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(300))]

    #[test]
    fn no_text_panics(lines in prop::collection::vec(line(), 0..12)) {
        let node = Node::new();
        if let Err(error) = node.load(&lines.join("\n")) {
            let text = error.to_string();
            prop_assert!(text.len() < 2000, "{}", text);
        }
    }

    #[test]
    fn no_bytes_panic(bytes: Vec<u8>) {
        let node = Node::new();
        fs::write(node.path("configuration.toml"), bytes).unwrap();
        let _any_answer_will_do = node.reload();
    }
}

//! What a pod may change.

use std::collections::BTreeMap;

use super::{Node, with};

const MEMORY: &str = "io.katacontainers.config.hypervisor.default_memory";
const VCPUS: &str = "io.katacontainers.config.hypervisor.default_vcpus";
const PARAMS: &str = "io.katacontainers.config.hypervisor.kernel_params";

fn pod(annotations: &[(&str, &str)]) -> BTreeMap<String, String> {
    let owned = |(name, value): &(&str, &str)| ((*name).to_owned(), (*value).to_owned());
    annotations.iter().map(owned).collect()
}

#[test]
fn nothing_is_enabled_by_default() {
    let config = Node::new().load(&with("")).unwrap();
    for name in [
        MEMORY,
        VCPUS,
        PARAMS,
        "io.katacontainers.config.hypervisor.path",
    ] {
        let error = config.with_annotations(&pod(&[(name, "1")])).unwrap_err();
        assert_eq!(
            error.to_string(),
            format!("Annotation {name} is not enabled (enable_annotations in the configuration)")
        );
    }
    let others = pod(&[
        ("io.kubernetes.cri.sandbox-id", "x"),
        ("io.katacontainers.pkg.oci.container_type", "pod_sandbox"),
    ]);
    config.with_annotations(&others).unwrap();
}

#[test]
fn what_is_enabled_takes_effect() {
    let text =
        with("enable_annotations = [\"default_.*\", \"kernel_params\"]\nkernel_params = \"a\"");
    let config = Node::new().load(&text).unwrap();
    let asked = pod(&[(MEMORY, "512"), (VCPUS, "1.5"), (PARAMS, "b=c")]);
    let changed = config.with_annotations(&asked).unwrap().hypervisor;
    assert_eq!((changed.memory_mib, changed.vcpus), (512, 2));
    assert_eq!(changed.kernel_params, "a b=c");
    // The configuration itself is as it was.
    assert_eq!(config.hypervisor.memory_mib, 2048);
}

#[test]
fn the_set_is_closed() {
    let config = Node::new()
        .load(&with("enable_annotations = [\".*\"]"))
        .unwrap();
    for name in [
        "io.katacontainers.config.hypervisor.path",
        "io.katacontainers.config.hypervisor.enable_template",
        "io.katacontainers.config.agent.policy",
        "io.katacontainers.config.runtime.disable_new_netns",
    ] {
        let error = config
            .with_annotations(&pod(&[(name, "/bin/sh")]))
            .unwrap_err();
        assert_eq!(
            error.to_string(),
            format!("Annotation {name} is not supported")
        );
    }
}

#[test]
fn values_are_checked() {
    let config = Node::new()
        .load(&with("enable_annotations = [\".*\"]"))
        .unwrap();
    for (name, value, reason) in [
        (MEMORY, "", "Not a number of MiB"),
        (MEMORY, "-1", "Not a number of MiB"),
        (MEMORY, "99999999999", "Not a number of MiB"),
        (MEMORY, "255", "Must be from 256 to 4194304"),
        (MEMORY, "4294967295", "Must be from 256 to 4194304"),
        (VCPUS, "0", "Must be more than 0"),
        (VCPUS, "inf", "Must be more than 0"),
        (VCPUS, "x", "Not a number"),
        (PARAMS, "a\nb", "Contains the character \\n"),
    ] {
        let error = config.with_annotations(&pod(&[(name, value)])).unwrap_err();
        assert!(error.to_string().ends_with(reason), "{error}");
    }
    let error = config
        .with_annotations(&pod(&[(PARAMS, &"x".repeat(3000))]))
        .unwrap_err();
    assert!(error.to_string().ends_with("becomes too long"), "{error}");
    assert!(error.to_string().len() < 300, "{error}");
    let vcpus = config
        .with_annotations(&pod(&[(VCPUS, "1e9")]))
        .unwrap()
        .hypervisor
        .vcpus;
    assert_eq!(vcpus, 4);
}

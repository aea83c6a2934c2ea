//! A template that is missing, damaged or of something else: the pod is ready all the same, and
//! says why it booted.

use std::{
    fs,
    os::unix::fs::{FileExt, PermissionsExt},
    path::PathBuf,
};

use e2e_tests::{harness::Case, management};
use playground::{Error, Result, cri::Kubelet, ensure, node::Node, settings::Settings};

use super::{start_of, with_template, without_template};
use crate::pods::{same, service};

pub fn cases() -> Vec<Case> {
    vec![
        Case::new("templating::without_a_template_a_pod_boots", missing),
        Case::new("templating::another_vm_than_the_templates_boots", mismatch),
        Case::new("templating::a_damaged_template_boots", damaged),
    ]
}

/// Runs a pod, which must be ready by a boot for the reason of this label.
fn boots(node: &Node, settings: &Settings, label: &str) -> Result<()> {
    let kubelet = Kubelet::new(node);
    let pod = kubelet.run("fallback")?;
    let status = pod.status()?;
    ensure!(status.state == 0, "The pod is not ready: {status}");
    let start = start_of(settings, &pod)?;
    ensure!(
        start.path.as_str() == "booted" && start.reason_label.as_str() == label,
        "{label} was expected: {start:?}"
    );
    println!("    {}", start.reason);
    same("exec", &service(&pod)?.shell("echo ready")?, "ready")?;
    let metrics = management::get(&settings.run_root, pod.id(), "/metrics")?;
    for line in [
        format!("imprint_template_fallbacks_total{{reason=\"{label}\"}} 1"),
        "imprint_template_hits_total 0".to_owned(),
    ] {
        ensure!(
            metrics.lines().any(|told| told == line),
            "{line} is not in\n{metrics}"
        );
    }
    pod.remove()
}

fn missing(node: &Node) -> Result<()> {
    let settings = without_template(node)?;
    boots(node, &settings, "absent")
}

fn mismatch(node: &Node) -> Result<()> {
    let settings = with_template(node)?;
    node.configure(&Settings {
        memory_mib: settings.memory_mib + 64,
        ..settings.clone()
    })?;
    boots(node, &settings, "mismatch")?;
    node.configure(&settings)?;
    node.imprint(&["factory", "destroy"]).succeed().map(drop)
}

/// A file of the template. The name that scripts know is a link into its own directory.
fn file(settings: &Settings, name: &str) -> Result<PathBuf> {
    let memory = settings.template_path.join("memory");
    let memory = memory
        .canonicalize()
        .map_err(Error::io("Resolving", &memory))?;
    Ok(memory.with_file_name(name))
}

/// What is done to a file of the template, and what a pod then says.
struct Damage {
    name: &'static str,
    done: fn(&fs::File) -> std::io::Result<()>,
    label: &'static str,
}

const DAMAGES: [Damage; 4] = [
    Damage {
        name: "state",
        done: |file| file.set_len(1000),
        label: "damaged",
    },
    Damage {
        name: "memory",
        done: |file| file.write_all_at(b"x", 4096),
        label: "damaged",
    },
    Damage {
        name: "manifest.json",
        done: |file| file.set_len(100),
        label: "damaged",
    },
    Damage {
        name: "state",
        done: |file| file.set_permissions(fs::Permissions::from_mode(0o644)),
        label: "not-private",
    },
];

fn damaged(node: &Node) -> Result<()> {
    for Damage { name, done, label } in DAMAGES {
        let settings = without_template(node)?;
        node.imprint(&["factory", "init"]).succeed()?;
        let path = file(&settings, name)?;
        let opened = fs::OpenOptions::new().write(true).open(&path);
        opened
            .and_then(|file| done(&file))
            .map_err(Error::io("Damaging", &path))?;
        boots(node, &settings, label)?;
    }
    node.imprint(&["factory", "destroy"]).succeed().map(drop)
}

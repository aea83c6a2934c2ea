//! `[factory]`, from either of the places where it may stand.

use std::{
    path::{Path, PathBuf},
    time::Duration,
};

use hypervisors::VmSize;

use super::{
    ConfigError, FactoryConfig, HypervisorConfig, RuntimeConfig, assemble::missing, keys,
    schema::invalid, view::View,
};

/// More templates than this lie on no node: each takes memory.
const MAX_SHAPES: usize = 16;

/// Kata's two runtimes each have their own place for the table; both are read.
pub fn config(
    file: &Path,
    tables: [View<'_>; 2],
    runtime: &RuntimeConfig,
    hypervisor: &HypervisorConfig,
) -> Result<FactoryConfig, ConfigError> {
    let [top, inner] = tables;
    for key in [
        "enable_template",
        "template_path",
        "restore_timeout_ms",
        "shape",
    ] {
        if let (Some(one), Some(other)) = (top.node(key), inner.node(key))
            && one != other
        {
            let reason = format!("{} says otherwise; remove one of them", one.at);
            return Err(invalid(key, other, reason));
        }
    }
    let timeout = inner
        .count("restore_timeout_ms")
        .or(top.count("restore_timeout_ms"));
    let from = if inner.node("shape").is_some() {
        inner
    } else {
        top
    };
    Ok(FactoryConfig {
        enable_template: inner.bool("enable_template", top.bool("enable_template", false)),
        template_path: template_path(file, tables, runtime)?,
        restore_timeout: Duration::from_millis(timeout.unwrap_or(5000)),
        shapes: shapes(from, hypervisor)?,
    })
}

fn template_path(
    file: &Path,
    [top, inner]: [View<'_>; 2],
    runtime: &RuntimeConfig,
) -> Result<PathBuf, ConfigError> {
    let (path, node) = match inner.text("template_path").or(top.text("template_path")) {
        Some((text, node)) => (PathBuf::from(text), Some(node)),
        None => (runtime.run_root.join("vm/template"), None),
    };
    let is_file = std::fs::metadata(&path).is_ok_and(|metadata| !metadata.is_dir());
    match (is_file, node) {
        (true, Some(node)) => Err(invalid("template_path", node, "Not a directory")),
        (true, None) => {
            let what = format!(
                "The template's directory {} is no directory",
                path.display()
            );
            Err(missing(file, what))
        }
        (false, _) => Ok(path),
    }
}

/// The shapes that are written; without any, that of a pod that asks for nothing.
fn shapes(table: View<'_>, hypervisor: &HypervisorConfig) -> Result<Vec<VmSize>, ConfigError> {
    let usual = VmSize {
        vcpus: hypervisor.vcpus,
        memory_mib: hypervisor.memory_mib,
    };
    let mut shapes = Vec::new();
    for shape in table.tables("shape")? {
        keys::FACTORY_SHAPE.check(shape)?;
        let number = |key, or| {
            let given = View(Some(shape)).count(key);
            given.map_or(or, |given| u32::try_from(given).unwrap_or(u32::MAX))
        };
        shapes.push(VmSize {
            vcpus: number("vcpus", usual.vcpus),
            memory_mib: number("memory", usual.memory_mib),
        });
    }
    let Some(node) = table.node("shape") else {
        return Ok(vec![usual]);
    };
    if shapes.is_empty() || shapes.len() > MAX_SHAPES {
        let reason = format!("Must be from 1 to {MAX_SHAPES} tables");
        return Err(invalid("shape", node, reason));
    }
    shapes.sort_unstable();
    if let Some(twice) = shapes.windows(2).find(|pair| pair[0] == pair[1]) {
        let reason = format!("{} is there twice", twice[0]);
        return Err(invalid("shape", node, reason));
    }
    let most = hypervisor.max_vcpus;
    match shapes.iter().find(|shape| shape.vcpus > most) {
        Some(shape) => {
            let reason = format!("{shape} has more vCPUs than the {most} that a VM may have");
            Err(invalid("shape", node, reason))
        }
        None => Ok(shapes),
    }
}

//! `[factory]`, which may be at the top or within the hypervisor's table.

use std::{
    path::{Path, PathBuf},
    time::Duration,
};

use hypervisors::VmSize;

use super::{
    ConfigError, FactoryConfig, HypervisorConfig, RuntimeConfig, error::missing, key::invalid,
    keys::factory as keys, view::View,
};

/// The most templates of a node: each takes memory.
const MAX_SHAPES: usize = 16;

/// Kata's two runtimes each have their own place for the table; both are read.
pub fn config(
    file: &Path,
    tables: [View<'_>; 2],
    runtime: &RuntimeConfig,
    hypervisor: &HypervisorConfig,
) -> Result<FactoryConfig, ConfigError> {
    let [top, inner] = tables;
    for key in keys::SECTION.read() {
        if let (Some(one), Some(other)) = (top.node_of(key), inner.node_of(key))
            && one != other
        {
            let reason = format!("{} sets another value; remove one of them", one.at);
            return Err(key.invalid(other, reason));
        }
    }
    let timeout = inner
        .count(keys::RESTORE_TIMEOUT_MS)
        .or(top.count(keys::RESTORE_TIMEOUT_MS));
    let from = if inner.node(keys::SHAPE).is_some() {
        inner
    } else {
        top
    };
    let enabled = top.bool(keys::ENABLE_TEMPLATE, false);
    Ok(FactoryConfig {
        enable_template: inner.bool(keys::ENABLE_TEMPLATE, enabled),
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
    let key = keys::TEMPLATE_PATH;
    let (path, node) = match inner.path(key).or(top.path(key)) {
        Some((path, node)) => (path.to_path_buf(), Some(node)),
        None => (runtime.run_root.join("vm/template"), None),
    };
    let is_file = std::fs::metadata(&path).is_ok_and(|metadata| !metadata.is_dir());
    match (is_file, node) {
        (true, Some(node)) => Err(invalid(key, node, "Not a directory")),
        (true, None) => {
            let what = format!(
                "The templates' directory {} is not a directory",
                path.display()
            );
            Err(missing(file, what))
        }
        (false, _) => Ok(path),
    }
}

/// The configured shapes; without any, the size of a pod without requests.
fn shapes(table: View<'_>, hypervisor: &HypervisorConfig) -> Result<Vec<VmSize>, ConfigError> {
    let usual = VmSize {
        vcpus: hypervisor.vcpus,
        memory_mib: hypervisor.memory_mib,
    };
    let mut shapes = Vec::new();
    for shape in table.tables(keys::SHAPE) {
        keys::SHAPE_SECTION.check(shape)?;
        let number = |key, or| View(Some(shape)).count_u32(key).unwrap_or(or);
        shapes.push(VmSize {
            vcpus: number(keys::VCPUS, usual.vcpus),
            memory_mib: number(keys::MEMORY, usual.memory_mib),
        });
    }
    let Some(node) = table.node(keys::SHAPE) else {
        return Ok(vec![usual]);
    };
    if shapes.is_empty() || shapes.len() > MAX_SHAPES {
        let reason = format!("Must be from 1 to {MAX_SHAPES} tables");
        return Err(invalid(keys::SHAPE, node, reason));
    }
    shapes.sort_unstable();
    if let Some(twice) = shapes.windows(2).find(|pair| pair[0] == pair[1]) {
        let reason = format!("{} is listed twice", twice[0]);
        return Err(invalid(keys::SHAPE, node, reason));
    }
    let most = hypervisor.max_vcpus;
    match shapes.iter().find(|shape| shape.vcpus > most) {
        Some(shape) => {
            let reason = format!("{shape} has more vCPUs than the {most} that a VM may have");
            Err(invalid(keys::SHAPE, node, reason))
        }
        None => Ok(shapes),
    }
}

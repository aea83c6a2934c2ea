//! Turns the merged files into a checked configuration.

use std::{
    path::{Path, PathBuf},
    time::Duration,
};

use hypervisors::VmmKind;

use super::{
    AgentConfig, Config, ConfigError, HostPathPolicy, HypervisorConfig, NetworkModel, RUN_ROOT_MAX,
    RuntimeConfig, VolumeSettings, command_line,
    error::missing,
    factory,
    hypervisor::{self, Chosen},
    key::invalid,
    keys,
    schema::Section,
    source::Merged,
    view::View,
};

/// Checks everything and fills in the defaults.
pub fn config(merged: Merged, host_cpus: u32) -> Result<Config, ConfigError> {
    let file = &merged.files[0];
    let root = View(Some(&merged.table));
    let warnings = check(root)?;
    let chosen = active(file, root)?;
    let runtime = runtime_config(root.table(keys::RUNTIME))?;
    let agent = agent_config(root);
    let hypervisor = hypervisor::config(file, chosen, &runtime, host_cpus)?;
    check_command_line(chosen, &hypervisor, agent.debug)?;
    let factories = [
        root.table(keys::FACTORY),
        chosen.section.table(keys::hypervisor::FACTORY),
    ];
    Ok(Config {
        factory: factory::config(file, factories, &runtime, &hypervisor)?,
        warnings,
        hypervisor,
        agent,
        runtime,
        files: merged.files,
    })
}

/// Checks every table against its keys, and returns the warnings about values without effect.
fn check(root: View<'_>) -> Result<Vec<String>, ConfigError> {
    let mut warnings = Vec::new();
    let mut check = |section: &Section, table: View<'_>| {
        if let Some(table) = table.0 {
            warnings.extend(section.check(table)?);
        }
        Ok(())
    };
    check(&keys::ROOT, root)?;
    let hypervisors = root.table(keys::HYPERVISOR);
    check(&keys::HYPERVISORS, hypervisors)?;
    check(&keys::runtime::SECTION, root.table(keys::RUNTIME))?;
    let agents = root.table(keys::AGENT);
    check(&keys::AGENTS, agents)?;
    let agent = agents.table(keys::KATA);
    check(&keys::agent::SECTION, agent)?;
    check(
        &keys::agent::MEM_AGENT_SECTION,
        agent.table(keys::agent::MEM_AGENT),
    )?;
    check(&keys::factory::SECTION, root.table(keys::FACTORY))?;
    for kind in VmmKind::ALL {
        let vmm = keys::vmm(kind);
        let table = hypervisors.table(vmm.table);
        check(vmm.section, table)?;
        check(vmm.factory, table.table(keys::hypervisor::FACTORY))?;
    }
    Ok(warnings)
}

fn check_command_line(
    chosen: Chosen<'_>,
    hypervisor: &HypervisorConfig,
    agent_debug: bool,
) -> Result<(), ConfigError> {
    let key = keys::hypervisor::KERNEL_PARAMS;
    let line = command_line::assemble(hypervisor, agent_debug).len();
    match chosen.section.node(key) {
        Some(node) if line > command_line::MAX_LEN => {
            let most = command_line::MAX_LEN;
            let reason = format!("The kernel's command line has {line} bytes, more than {most}");
            Err(invalid(key, node, reason))
        }
        _ => Ok(()),
    }
}

/// The VMM that `hypervisor_name` picks, or the only one that is described.
fn active<'a>(file: &Path, root: View<'a>) -> Result<Chosen<'a>, ConfigError> {
    let hypervisors = root.table(keys::HYPERVISOR);
    let runtime = root.table(keys::RUNTIME);
    let section = |kind| hypervisors.table(keys::vmm(kind).table);
    let described = |kind: &VmmKind| section(*kind).0.is_some();
    let key = keys::runtime::HYPERVISOR_NAME;
    let kind = match (runtime.choice(key), runtime.node(key)) {
        (Some(kind), Some(node)) if !described(&kind) => {
            let reason = format!("There is no [hypervisor.{}]", kind.id());
            return Err(invalid(key, node, reason));
        }
        (Some(kind), _) => kind,
        (None, _) => match VmmKind::ALL
            .into_iter()
            .filter(described)
            .collect::<Vec<_>>()[..]
        {
            [only] => only,
            [] => {
                let what = "There is no [hypervisor.qemu] and no [hypervisor.clh]";
                return Err(missing(file, what));
            }
            _ => {
                let what = "Both [hypervisor.qemu] and [hypervisor.clh] exist; \
                    write hypervisor_name = \"qemu\" or \"clh\" in [runtime]";
                return Err(missing(file, what));
            }
        },
    };
    Ok(Chosen {
        kind,
        section: section(kind),
    })
}

fn agent_config(root: View<'_>) -> AgentConfig {
    let runtime = root.table(keys::RUNTIME);
    let agent = root.table(keys::AGENT).table(keys::KATA);
    let seconds = |view: View<'_>, key| view.count(key).map(Duration::from_secs);
    let millis = |key| agent.count(key).map(Duration::from_millis);
    let usual = agent_client::Deadlines::default();
    let create = seconds(runtime, keys::runtime::CREATE_CONTAINER_TIMEOUT)
        .or(seconds(agent, keys::agent::CREATE_CONTAINER_TIMEOUT));
    AgentConfig {
        debug: agent.bool(keys::agent::ENABLE_DEBUG, false),
        connect_timeout: match agent.count(keys::agent::DIAL_TIMEOUT) {
            None => Duration::from_secs(45),
            Some(0) => Duration::from_secs(30),
            Some(seconds) => Duration::from_secs(seconds),
        },
        deadlines: agent_client::Deadlines {
            check: millis(keys::agent::HEALTH_CHECK_REQUEST_TIMEOUT_MS).unwrap_or(usual.check),
            create_container: create.unwrap_or(usual.create_container),
            other: millis(keys::agent::REQUEST_TIMEOUT_MS).unwrap_or(usual.other),
        },
    }
}

/// The run root, whose length is limited by the paths of a pod's sockets.
fn run_root(runtime: View<'_>) -> Result<PathBuf, ConfigError> {
    let key = keys::runtime::RUN_ROOT;
    let path = runtime.path_or(key, "/run/imprint");
    let length = path.as_os_str().len();
    match runtime.node(key) {
        Some(node) if length > RUN_ROOT_MAX => {
            let over = length - RUN_ROOT_MAX;
            let reason = format!(
                "The paths of pods' sockets below it would be too long (unix(7)): it may have \
                 {RUN_ROOT_MAX} bytes and has {length}, {over} too many"
            );
            Err(invalid(key, node, reason))
        }
        _ => Ok(path),
    }
}

fn runtime_config(table: View<'_>) -> Result<RuntimeConfig, ConfigError> {
    use keys::runtime::*;
    Ok(RuntimeConfig {
        debug: table.bool(ENABLE_DEBUG, false),
        run_root: run_root(table)?,
        rootfs_cache_dir: table.path_or(ROOTFS_CACHE_DIR, "/var/lib/imprint/rootfs"),
        rootfs_cache_mib: table.count(ROOTFS_CACHE_MIB).unwrap_or(10 << 10),
        volumes: VolumeSettings {
            host_path: table
                .choice(HOST_PATH_VOLUMES)
                .unwrap_or(HostPathPolicy::Copy),
            host_path_limit: table.count(HOST_PATH_COPY_LIMIT_MIB).unwrap_or(64) << 20,
            host_block_devices: table.bool(HOST_BLOCK_DEVICES, false),
            kubelet_root: table.path_or(KUBELET_ROOT_DIR, "/var/lib/kubelet"),
            ..VolumeSettings::default()
        },
        disable_guest_seccomp: table.bool(DISABLE_GUEST_SECCOMP, true),
        network: table
            .choice(INTERNETWORKING_MODEL)
            .unwrap_or(NetworkModel::TcFilter),
        sandbox_cgroup_only: table.bool(SANDBOX_CGROUP_ONLY, true),
        static_sandbox_resource_mgmt: table.bool(STATIC_SANDBOX_RESOURCE_MGMT, false),
    })
}

//! From a merged tree to a configuration that holds.

use std::{
    path::{Path, PathBuf},
    time::Duration,
};

use super::{
    AgentConfig, Config, ConfigError, HostPathPolicy, NetworkModel, RUN_ROOT_MAX, RuntimeConfig,
    VolumeSettings, command_line, factory,
    hypervisor::{self, Chosen, Monitor},
    keys,
    schema::{Section, invalid},
    source::Merged,
    tree::Table,
    view::View,
};

/// Checks everything and fills in the defaults.
pub fn config(merged: Merged, host_cpus: u32) -> Result<Config, ConfigError> {
    let file = &merged.files[0];
    let root = View(Some(&merged.table));
    let mut warnings = Vec::new();
    let mut check = |section: &Section, table: Option<&Table>| {
        if let Some(table) = table {
            warnings.extend(section.check(table)?);
        }
        Ok(())
    };
    check(&keys::ROOT, root.0)?;
    let hypervisors = View(root.table("hypervisor")?);
    check(&keys::HYPERVISORS, hypervisors.0)?;
    let runtime = View(root.table("runtime")?);
    check(&keys::RUNTIME, runtime.0)?;
    let agents = View(root.table("agent")?);
    check(&keys::AGENTS, agents.0)?;
    let agent = View(agents.table("kata")?);
    check(&keys::AGENT_KATA, agent.0)?;
    check(&keys::MEM_AGENT, agent.table("mem_agent")?)?;
    let factory = View(root.table("factory")?);
    check(&keys::FACTORY, factory.0)?;
    for (name, section, factory) in [
        ("qemu", &keys::QEMU, &keys::QEMU_FACTORY),
        ("clh", &keys::CLH, &keys::CLH_FACTORY),
    ] {
        let table = hypervisors.table(name)?;
        check(section, table)?;
        check(factory, View(table).table("factory")?)?;
    }

    let chosen = active(file, hypervisors, runtime)?;
    let runtime = runtime_config(runtime)?;
    let agent_config = agent_config(agent, root);
    let hypervisor = hypervisor::config(file, chosen, host_cpus)?;
    let line = command_line::assemble(&hypervisor, agent_config.debug).len();
    if let Some(node) = chosen.section.node("kernel_params")
        && line > command_line::MAX_LEN
    {
        let most = command_line::MAX_LEN;
        let reason = format!("The kernel's command line has {line} bytes, more than {most}");
        return Err(invalid("kernel_params", node, reason));
    }
    let tables = [factory, View(chosen.section.table("factory")?)];
    Ok(Config {
        factory: factory::config(file, tables, &runtime, &hypervisor)?,
        warnings,
        hypervisor,
        agent: agent_config,
        runtime,
        files: merged.files,
    })
}

/// Something without which there is no configuration.
pub fn missing(file: &Path, what: impl Into<String>) -> ConfigError {
    ConfigError::Missing {
        file: file.to_path_buf(),
        what: what.into(),
    }
}

/// The hypervisor that `hypervisor_name` picks, or the only one there is.
fn active<'a>(
    file: &Path,
    hypervisors: View<'a>,
    runtime: View<'a>,
) -> Result<Chosen<'a>, ConfigError> {
    let (qemu, clh) = (hypervisors.table("qemu")?, hypervisors.table("clh")?);
    let chosen = match runtime.text("hypervisor_name") {
        Some((name, node)) => {
            if hypervisors.node(name).is_none() {
                let reason = format!("There is no [hypervisor.{name}]");
                return Err(invalid("hypervisor_name", node, reason));
            }
            name
        }
        None => match (qemu, clh) {
            (Some(_), Some(_)) => {
                let what = "Both [hypervisor.qemu] and [hypervisor.clh] are there; \
                    write hypervisor_name = \"qemu\" or \"clh\" in [runtime]";
                return Err(missing(file, what));
            }
            (None, None) => {
                let what = "There is no [hypervisor.qemu] and no [hypervisor.clh]";
                return Err(missing(file, what));
            }
            (None, Some(_)) => "clh",
            (Some(_), None) => "qemu",
        },
    };
    Ok(match chosen {
        "clh" => Chosen {
            monitor: Monitor::Clh,
            section: View(clh),
        },
        _ => Chosen {
            monitor: Monitor::Qemu,
            section: View(qemu),
        },
    })
}

fn agent_config(agent: View<'_>, root: View<'_>) -> AgentConfig {
    let runtime = View(root.table("runtime").unwrap_or_default());
    let seconds = |view: View<'_>, key| view.count(key).map(Duration::from_secs);
    let millis = |key| agent.count(key).map(Duration::from_millis);
    let usual = agent_client::Deadlines::default();
    let create =
        seconds(runtime, "create_container_timeout").or(seconds(agent, "create_container_timeout"));
    AgentConfig {
        debug: agent.bool("enable_debug", false),
        connect_timeout: match agent.count("dial_timeout") {
            None => Duration::from_secs(45),
            Some(0) => Duration::from_secs(30),
            Some(seconds) => Duration::from_secs(seconds),
        },
        deadlines: agent_client::Deadlines {
            check: millis("health_check_request_timeout_ms").unwrap_or(usual.check),
            create_container: create.unwrap_or(usual.create_container),
            other: millis("request_timeout_ms").unwrap_or(usual.other),
        },
    }
}

/// A run root below which every socket of a pod has a path that the kernel takes.
fn run_root(runtime: View<'_>) -> Result<PathBuf, ConfigError> {
    let path = runtime.path("run_root", "/run/imprint");
    let length = path.as_os_str().len();
    match runtime.node("run_root") {
        Some(node) if length > RUN_ROOT_MAX => {
            let over = length - RUN_ROOT_MAX;
            let reason = format!(
                "The paths of pods' sockets below it would be too long (unix(7)): it may have \
                 {RUN_ROOT_MAX} bytes and has {length}, {over} too many"
            );
            Err(invalid("run_root", node, reason))
        }
        _ => Ok(path),
    }
}

fn runtime_config(runtime: View<'_>) -> Result<RuntimeConfig, ConfigError> {
    Ok(RuntimeConfig {
        debug: runtime.bool("enable_debug", false),
        run_root: run_root(runtime)?,
        rootfs_cache_dir: runtime.path("rootfs_cache_dir", "/var/lib/imprint/rootfs"),
        rootfs_cache_mib: runtime.count("rootfs_cache_mib").unwrap_or(10 << 10),
        volumes: VolumeSettings {
            host_path: match runtime.text("host_path_volumes") {
                Some(("refuse", _)) => HostPathPolicy::Refuse,
                _ => HostPathPolicy::Copy,
            },
            host_path_limit: runtime.count("host_path_copy_limit_mib").unwrap_or(64) << 20,
            host_block_devices: runtime.bool("host_block_devices", false),
            kubelet_root: runtime.path("kubelet_root_dir", "/var/lib/kubelet"),
            ..VolumeSettings::default()
        },
        disable_guest_seccomp: runtime.bool("disable_guest_seccomp", true),
        network: match runtime.text("internetworking_model") {
            Some(("none", _)) => NetworkModel::None,
            _ => NetworkModel::TcFilter,
        },
        sandbox_cgroup_only: runtime.bool("sandbox_cgroup_only", true),
        static_sandbox_resource_mgmt: runtime.bool("static_sandbox_resource_mgmt", false),
    })
}

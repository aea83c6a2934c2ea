//! What the configured QEMU is, and what it can do on this host.

mod binary;
mod cache;
mod kvm;
mod payload;

use std::path::Path;

use slog::{info, warn};
use system::error::chain;

use self::{binary::Facts, cache::Cache, kvm::Verdict};
use super::{
    Qemu,
    command_line::{Accelerator, Machine, cpu_model},
    config::{AcceleratorChoice, ChannelKind, MAX_MEMORY_SLOTS, MAX_PCIE_ROOT_PORTS, QemuConfig},
    layout, migration,
    qmp::Version,
};
use crate::{Capabilities, Error, Identity, Result, VmmKind, host_cpu};

/// ACPI hot-plug behind root ports of q35 came with 6.1; before it, detaching a device takes
/// seconds.
const MINIMUM: (u32, u32) = (6, 1);

/// The host's half of vsock devices.
const VHOST_VSOCK: &str = "/dev/vhost-vsock";

/// Probes the configured QEMU, or takes what an earlier probe of this host boot found.
pub async fn probe(config: QemuConfig, log: &slog::Logger) -> Result<Qemu> {
    check_choices(&config)?;
    check_channel(&config, Path::new(VHOST_VSOCK))?;
    let unusable = |reason: String| Error::Unusable {
        binary: config.binary.clone(),
        reason,
    };
    let binary = config
        .binary
        .canonicalize()
        .map_err(|error| unusable(error.to_string()))?;
    let mut cache = Cache::open(config.probe_cache.as_deref(), &binary, log);
    let facts = match cache.facts() {
        Some(facts) => facts,
        None => {
            let facts = binary::ask(&binary, log)
                .await
                .map_err(|error| unusable(chain(&error)))?;
            cache.store_facts(&facts);
            facts
        }
    };
    check_facts(&facts, &config).map_err(unusable)?;
    let accelerator = accelerator(&config, &binary, &mut cache, log).await?;
    let machine = Machine {
        config,
        accelerator,
        has_bridges: facts.bridges,
    };
    let identity = identity(&machine, &binary, &facts.version);
    Ok(Qemu {
        capabilities: capabilities(&machine, &facts),
        identity,
        machine,
        log: log.clone(),
    })
}

fn check_choices(config: &QemuConfig) -> Result<()> {
    if config.memory_slots > MAX_MEMORY_SLOTS {
        let asked = config.memory_slots;
        let reason = format!("{asked} memory slots asked for, {MAX_MEMORY_SLOTS} are possible");
        return Err(Error::Unusable {
            binary: config.binary.clone(),
            reason,
        });
    }
    if config.pcie_root_ports > MAX_PCIE_ROOT_PORTS {
        let asked = config.pcie_root_ports;
        let reason = format!("{asked} PCIe root ports asked for, {MAX_PCIE_ROOT_PORTS} fit");
        return Err(Error::Unusable {
            binary: config.binary.clone(),
            reason,
        });
    }
    Ok(())
}

fn check_channel(config: &QemuConfig, vhost_vsock: &Path) -> Result<()> {
    if config.agent_channel == ChannelKind::Vsock && !vhost_vsock.exists() {
        let device = vhost_vsock.display();
        return Err(Error::Unusable {
            binary: config.binary.clone(),
            reason: format!("the agent is to be reached by vsock, but there is no {device}"),
        });
    }
    Ok(())
}

fn check_facts(facts: &Facts, config: &QemuConfig) -> std::result::Result<(), String> {
    let Version { major, minor, .. } = facts.version;
    if (major, minor) < MINIMUM {
        let (major, minor) = MINIMUM;
        return Err(format!(
            "it is version {}, at least {major}.{minor} is needed",
            facts.version
        ));
    }
    if !facts.machines.contains(&config.machine_type) {
        return Err(format!("it has no machine type {}", config.machine_type));
    }
    Ok(())
}

async fn accelerator(
    config: &QemuConfig,
    binary: &Path,
    cache: &mut Cache,
    log: &slog::Logger,
) -> Result<Accelerator> {
    match config.accelerator {
        AcceleratorChoice::Tcg => Ok(Accelerator::Tcg),
        AcceleratorChoice::Kvm if Path::new(kvm::DEVICE).exists() => Ok(Accelerator::Kvm),
        AcceleratorChoice::Kvm => {
            let reason = format!("KVM was asked for, but there is no {}", kvm::DEVICE);
            Err(Error::Unusable {
                binary: config.binary.clone(),
                reason,
            })
        }
        AcceleratorChoice::Auto => {
            let verdict = match kvm::obstacle() {
                Some(verdict) => verdict,
                None => kvm_verdict(config, binary, cache, log).await,
            };
            Ok(choose(&verdict, log))
        }
    }
}

async fn kvm_verdict(
    config: &QemuConfig,
    binary: &Path,
    cache: &mut Cache,
    log: &slog::Logger,
) -> Verdict {
    let machine = kvm::machine(config);
    if let Some(verdict) = cache.kvm(&machine) {
        return verdict;
    }
    let verdict = kvm::probe(config, binary, log).await;
    cache.store_kvm(&machine, &verdict);
    verdict
}

fn choose(verdict: &Verdict, log: &slog::Logger) -> Accelerator {
    if verdict.works {
        info!(log, "guests run under KVM"; "reason" => &verdict.reason);
        Accelerator::Kvm
    } else {
        warn!(log, "guests are emulated, which is slow"; "reason" => &verdict.reason);
        Accelerator::Tcg
    }
}

fn capabilities(machine: &Machine, facts: &Facts) -> Capabilities {
    Capabilities {
        vcpu_hotplug: facts.cpu_hotplug.contains(&machine.config.machine_type),
        memory_hotplug_beside_file: facts.dimms && machine.config.memory_slots > 0,
        disk_slots: facts.disk_slots,
        private_file_restore: facts
            .migration
            .iter()
            .any(|name| name == migration::IGNORE_SHARED),
    }
}

fn identity(machine: &Machine, binary: &Path, version: &Version) -> Identity {
    let model = cpu_model(&machine.config, machine.accelerator);
    Identity {
        vmm: VmmKind::Qemu.id(),
        binary: binary.to_owned(),
        version: version.to_string(),
        machine: described(machine),
        cpu: format!("{model} on {}", host_cpu::describe()),
    }
}

fn described(machine: &Machine) -> crate::Machine {
    let config = &machine.config;
    let accelerator = match machine.accelerator {
        Accelerator::Kvm => "kvm",
        Accelerator::Tcg => "tcg",
    };
    let agent_channel = match config.agent_channel {
        ChannelKind::Serial => "virtio-serial",
        ChannelKind::Vsock => "vhost-vsock",
    };
    crate::Machine {
        accelerator: accelerator.to_owned(),
        agent_channel: agent_channel.to_owned(),
        debug_console: config.debug_console.is_some(),
        layout: layout::VERSION,
        machine_type: Some(config.machine_type.clone()),
        root_ports: Some(config.pcie_root_ports),
        bridges: Some(machine.bridge_slots().len() as u32),
        memory_slots: Some(config.memory_slots),
        ..crate::Machine::default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn facts(major: u32, minor: u32) -> Facts {
        Facts {
            version: Version {
                major,
                minor,
                micro: 0,
                package: String::new(),
            },
            machines: vec!["q35".into()],
            cpu_hotplug: vec!["q35".into()],
            dimms: true,
            migration: vec!["x-ignore-shared".into()],
            disk_slots: true,
            bridges: true,
        }
    }

    #[test]
    fn versions_are_compared_as_numbers() {
        let config = QemuConfig::default();
        assert!(check_facts(&facts(10, 0), &config).is_ok());
        assert!(check_facts(&facts(6, 1), &config).is_ok());
        let reason = check_facts(&facts(5, 2), &config).unwrap_err();
        assert_eq!(reason, "it is version 5.2.0, at least 6.1 is needed");
    }

    /// A saved VM has the devices of its channel, so it is no template where another is asked for.
    #[test]
    fn the_channel_is_chosen_and_part_of_the_identity() {
        let machine = |agent_channel| Machine {
            config: QemuConfig {
                agent_channel,
                ..QemuConfig::default()
            },
            accelerator: Accelerator::Tcg,
            has_bridges: true,
        };
        let made_of = |agent_channel| {
            let version = facts(7, 2).version;
            identity(&machine(agent_channel), Path::new("/qemu"), &version).machine
        };
        assert_eq!(made_of(ChannelKind::Serial).agent_channel, "virtio-serial");
        assert_ne!(made_of(ChannelKind::Serial), made_of(ChannelKind::Vsock));
        let (there, absent) = (Path::new("/dev/null"), Path::new("/dev/no-such-device"));
        let check = |channel, device| check_channel(&machine(channel).config, device);
        assert_eq!(QemuConfig::default().agent_channel, ChannelKind::Serial);
        assert!(check(ChannelKind::Serial, absent).is_ok());
        assert!(check(ChannelKind::Vsock, there).is_ok());
        let error = check(ChannelKind::Vsock, absent).unwrap_err().to_string();
        assert!(error.contains("no /dev/no-such-device"), "{error}");
    }

    #[test]
    fn an_unknown_machine_type_is_named() {
        let config = QemuConfig {
            machine_type: "microvm".into(),
            ..QemuConfig::default()
        };
        let reason = check_facts(&facts(7, 2), &config).unwrap_err();
        assert_eq!(reason, "it has no machine type microvm");
    }

    #[test]
    fn capabilities_come_from_what_the_binary_has() {
        let machine = Machine {
            config: QemuConfig::default(),
            accelerator: Accelerator::Tcg,
            has_bridges: true,
        };
        let can = capabilities(&machine, &facts(7, 2));
        assert!(can.vcpu_hotplug && can.memory_hotplug_beside_file && can.private_file_restore);
        let without_dimms = Facts {
            dimms: false,
            ..facts(7, 2)
        };
        assert!(!capabilities(&machine, &without_dimms).memory_hotplug_beside_file);
        let config = QemuConfig {
            pcie_root_ports: 0,
            memory_slots: 0,
            ..QemuConfig::default()
        };
        let fixed = Machine { config, ..machine };
        assert!(!capabilities(&fixed, &facts(7, 2)).memory_hotplug_beside_file);
        assert!(fixed.bridge_slots().is_empty());
    }
}

//! The hypervisor's section that is chosen, checked against the machine.

use std::path::{Path, PathBuf};

use hypervisors::{
    GuestRoot,
    clh::ClhConfig,
    qemu::{AcceleratorChoice, ChannelKind, QemuConfig},
};
use regex::RegexBuilder;

use super::{
    AnnotationGate, ClhSettings, ConfigError, HypervisorConfig, MonitorSettings, QemuSettings,
    assemble::missing,
    error::quote,
    keys,
    schema::invalid,
    tree::Value,
    view::{View, program_problem},
};

/// Largest compiled form of one pattern of `enable_annotations`, in bytes.
const MAX_PATTERN: usize = 256 << 10;

/// What a guest of the embedded image keeps for its kernel, its agent and its root, rounded up: of
/// 256 MiB, 181 MiB are left to containers.
const DEFAULT_OVERHEAD_MIB: u32 = 96;
/// A pause container and three others.
const DEFAULT_DISK_SLOTS: u32 = 4;
/// Larger than the root file systems that are usual; empty slots cost nothing whatever their size.
const DEFAULT_DISK_SLOT_MIB: u32 = 16 << 10;
/// Largest `overhead_memory` and `overhead_vcpus`.
const MAX_OVERHEAD: f64 = 65536.0;

/// Which monitor.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Monitor {
    /// QEMU.
    Qemu,
    /// Cloud Hypervisor.
    Clh,
}

/// The monitor that is chosen, and its section.
#[derive(Clone, Copy)]
pub struct Chosen<'a> {
    pub monitor: Monitor,
    pub section: View<'a>,
}

impl Chosen<'_> {
    fn name(self) -> &'static str {
        match self.monitor {
            Monitor::Qemu => "[hypervisor.qemu]",
            Monitor::Clh => "[hypervisor.clh]",
        }
    }
}

/// Checks the section and fills in its defaults.
pub fn config(
    file: &Path,
    chosen: Chosen<'_>,
    host_cpus: u32,
) -> Result<HypervisorConfig, ConfigError> {
    let qemu = chosen.section;
    let defaults = QemuConfig::default();
    let path = program(file, chosen)?;
    let kernel = qemu
        .file("kernel")?
        .ok_or_else(|| missing(file, format!("{} has no kernel", chosen.name())))?;
    if let Some((params, node)) = qemu.text("kernel_params")
        && let Some(problem) = kernel_params_problem(params)
    {
        return Err(invalid("kernel_params", node, problem));
    }
    let max = match qemu.count("default_maxvcpus") {
        None | Some(0) => host_cpus,
        Some(max) => u32::try_from(max).unwrap_or(u32::MAX).min(host_cpus),
    };
    let memory_mib = mib(qemu.count("default_memory")).unwrap_or(2048);
    let most_memory = match mib(qemu.count("default_maxmemory")) {
        None | Some(0) => host_memory_mib(),
        Some(most) => most.min(keys::MAX_MEMORY_MIB),
    };
    let vcpus = vcpus(qemu.float("default_vcpus").unwrap_or(1.0), host_cpus);
    Ok(HypervisorConfig {
        path,
        kernel,
        root: guest_root(file, chosen)?,
        rootfs_type: owned(qemu, "rootfs_type", "ext4"),
        kernel_params: owned(qemu, "kernel_params", ""),
        vcpus,
        max_vcpus: max.max(vcpus),
        memory_mib,
        max_memory_mib: most_memory.max(memory_mib),
        overhead_memory_mib: overhead(qemu, "overhead_memory")?
            .map_or(DEFAULT_OVERHEAD_MIB, |mib| mib.ceil() as u32),
        overhead_vcpus: overhead(qemu, "overhead_vcpus")?.unwrap_or_default(),
        disk_slots: mib(qemu.count("disk_slots")).unwrap_or(DEFAULT_DISK_SLOTS),
        disk_slot_mib: mib(qemu.count("disk_slot_mib")).unwrap_or(DEFAULT_DISK_SLOT_MIB),
        memory_slots: mib(qemu.count("memory_slots")).unwrap_or(defaults.memory_slots),
        debug: qemu.bool("enable_debug", false),
        annotations: gate(qemu)?,
        monitor: match chosen.monitor {
            Monitor::Qemu => MonitorSettings::Qemu(qemu_settings(qemu)?),
            Monitor::Clh => MonitorSettings::Clh(clh_settings(qemu)?),
        },
    })
}

fn qemu_settings(qemu: View<'_>) -> Result<QemuSettings, ConfigError> {
    Ok(QemuSettings {
        machine_type: machine_type(qemu)?,
        cpu_features: qemu.text("cpu_features").map(|(text, _)| text.to_owned()),
        root_ports: match qemu.count("pcie_root_port") {
            None | Some(0) => QemuConfig::default().pcie_root_ports,
            Some(ports) => u32::try_from(ports).unwrap_or(keys::MAX_ROOT_PORTS),
        },
        accelerator: match qemu.text("accelerator") {
            Some(("kvm", _)) => AcceleratorChoice::Kvm,
            Some(("tcg", _)) => AcceleratorChoice::Tcg,
            _ => AcceleratorChoice::Auto,
        },
        agent_channel: match qemu.text("agent_channel") {
            Some(("vsock", _)) => ChannelKind::Vsock,
            _ => ChannelKind::Serial,
        },
        seccomp: seccomp(qemu)?,
    })
}

fn clh_settings(clh: View<'_>) -> Result<ClhSettings, ConfigError> {
    let below = clh.list("landlock_paths").map(PathBuf::from);
    let below: Vec<_> = below.collect();
    if let (Some(path), Some(node)) = (
        below.iter().find(|path| !path.is_absolute()),
        clh.node("landlock_paths"),
    ) {
        let path = quote(&path.to_string_lossy());
        let reason = format!("\"{path}\" is no absolute path");
        return Err(invalid("landlock_paths", node, &reason));
    }
    Ok(ClhSettings {
        seccomp: !clh.bool("disable_seccomp", false),
        landlock: clh.bool("enable_landlock", false).then_some(below),
        nested: !clh.bool("disable_nested_virtualization", false),
    })
}

/// Saturates.
fn mib(count: Option<u64>) -> Option<u32> {
    count.map(|count| u32::try_from(count).unwrap_or(u32::MAX))
}

fn overhead(qemu: View<'_>, name: &str) -> Result<Option<f64>, ConfigError> {
    match (qemu.float(name), qemu.node(name)) {
        (Some(value), Some(node)) if !(0.0..=MAX_OVERHEAD).contains(&value) => {
            let reason = format!("Must be from 0 to {MAX_OVERHEAD}");
            Err(invalid(name, node, &reason))
        }
        (value, _) => Ok(value),
    }
}

/// Memory of the host in whole GiB, so that all of a day's templates agree on it.
fn host_memory_mib() -> u32 {
    let gib = system::memory::total().unwrap_or_default() >> 30;
    mib(Some(gib << 10))
        .unwrap_or_default()
        .min(keys::MAX_MEMORY_MIB)
}

fn program(file: &Path, chosen: Chosen<'_>) -> Result<PathBuf, ConfigError> {
    let default = match chosen.monitor {
        Monitor::Qemu => QemuConfig::default().binary,
        Monitor::Clh => ClhConfig::default().binary,
    };
    let given = chosen.section.text("path");
    let path = given.map_or(default, |(text, _)| PathBuf::from(text));
    match (program_problem(&path), given) {
        (None, _) => Ok(path),
        (Some(problem), Some((_, node))) => Err(invalid("path", node, problem)),
        (Some(problem), None) => {
            let path = path.display();
            let name = chosen.name();
            let what = format!("{name} has no path, and the default {path}: {problem}");
            Err(missing(file, what))
        }
    }
}

fn owned(view: View<'_>, name: &str, default: &str) -> String {
    view.text(name).map_or(default, |(text, _)| text).to_owned()
}

fn guest_root(file: &Path, chosen: Chosen<'_>) -> Result<GuestRoot, ConfigError> {
    let (name, qemu) = (chosen.name(), chosen.section);
    match (qemu.file("initrd")?, qemu.file("image")?) {
        (Some(initrd), None) => Ok(GuestRoot::Initrd(initrd)),
        (None, Some(image)) => Ok(GuestRoot::Image(image)),
        (None, None) => Err(missing(
            file,
            format!("{name} has neither initrd nor image"),
        )),
        (Some(_), Some(_)) => Err(match qemu.node("image") {
            Some(node) => invalid("image", node, "initrd is set as well; remove one of them"),
            None => missing(file, format!("{name} has both initrd and image")),
        }),
    }
}

/// vCPUs for a number that was asked for: less than 0 means all that there are, 0 means 1.
pub fn vcpus(asked: f64, most: u32) -> u32 {
    let most = most.max(1);
    if asked < 0.0 {
        return most;
    }
    // A conversion from floating point saturates.
    (asked.ceil() as u32).clamp(1, most)
}

/// Why these parameters cannot be part of a command line.
pub fn kernel_params_problem(params: &str) -> Option<String> {
    let bad = params.chars().find(|c| c.is_control())?;
    Some(format!("Contains the character {}", bad.escape_default()))
}

fn machine_type(qemu: View<'_>) -> Result<String, ConfigError> {
    match qemu.text("machine_type") {
        None => Ok(QemuConfig::default().machine_type),
        Some((name, _)) if name == "q35" || name.starts_with("pc-q35-") => Ok(name.to_owned()),
        Some((_, node)) => {
            let reason = "Must be q35 or a version of it (pc-q35-...): devices are plugged into \
                its PCI Express root ports";
            Err(invalid("machine_type", node, reason))
        }
    }
}

/// Kata's Go runtime has QEMU's argument here, such as `on,obsolete=deny`. Its details are ours.
fn seccomp(qemu: View<'_>) -> Result<bool, ConfigError> {
    for name in ["seccompsandbox", "seccomp_sandbox"] {
        let Some(node) = qemu.node(name) else {
            continue;
        };
        return match &node.value {
            Value::Text(text) if text == "on" || text.starts_with("on,") => Ok(true),
            Value::Text(text) if text == "off" || text.is_empty() => Ok(false),
            _ => Err(invalid(name, node, "Must be \"on\" or \"off\"")),
        };
    }
    Ok(true)
}

fn gate(qemu: View<'_>) -> Result<AnnotationGate, ConfigError> {
    let mut patterns = Vec::new();
    for pattern in qemu.list("enable_annotations") {
        match RegexBuilder::new(pattern).size_limit(MAX_PATTERN).build() {
            Ok(pattern) => patterns.push(pattern),
            Err(_) => {
                let Some(node) = qemu.node("enable_annotations") else {
                    continue;
                };
                let pattern = quote(pattern);
                let reason = format!("\"{pattern}\" is no regular expression");
                return Err(invalid("enable_annotations", node, reason));
            }
        }
    }
    Ok(AnnotationGate::new(patterns))
}

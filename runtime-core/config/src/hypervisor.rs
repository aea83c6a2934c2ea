//! The table of the chosen VMM, checked against the machine.

use std::path::{Path, PathBuf};

use hypervisors::{
    GuestRoot, VmmConfig, VmmKind,
    clh::ClhConfig,
    qemu::{AcceleratorChoice, ChannelKind, QemuConfig},
};
use regex::RegexBuilder;

use super::{
    AnnotationGate, ConfigError, HypervisorConfig, RootfsType, RuntimeConfig,
    error::{missing, quote},
    key::{Key, invalid},
    keys::{hypervisor::*, hypervisor_clh as clh_keys, hypervisor_qemu as qemu_keys},
    tree::Value,
    view::{View, program_problem},
};

/// Largest compiled form of one pattern of `enable_annotations`, in bytes.
const MAX_PATTERN: usize = 256 << 10;

/// Memory that a guest with the embedded agent needs for its kernel, agent and root, rounded up: of
/// 256 MiB, 181 MiB are left for containers.
const DEFAULT_OVERHEAD_MIB: u32 = 96;
/// Enough for a pause container and three others.
const DEFAULT_DISK_SLOTS: u32 = 4;
/// Larger than most root file systems; the size of an empty slot costs nothing.
const DEFAULT_DISK_SLOT_MIB: u32 = 16 << 10;
/// Largest `overhead_memory` and `overhead_vcpus`.
const MAX_OVERHEAD: f64 = 65536.0;

/// The chosen VMM, and its table.
#[derive(Clone, Copy)]
pub struct Chosen<'a> {
    pub kind: VmmKind,
    pub section: View<'a>,
}

impl Chosen<'_> {
    fn name(self) -> String {
        format!("[hypervisor.{}]", self.kind.id())
    }
}

/// Checks the chosen VMM's table and fills in its defaults.
pub fn config(
    file: &Path,
    chosen: Chosen<'_>,
    runtime: &RuntimeConfig,
    host_cpus: u32,
) -> Result<HypervisorConfig, ConfigError> {
    let table = chosen.section;
    let vmm = vmm(file, chosen, runtime)?;
    let kernel = table
        .file(KERNEL)?
        .ok_or_else(|| missing(file, format!("{} has no kernel", chosen.name())))?;
    if let Some((params, node)) = table.text(KERNEL_PARAMS)
        && let Some(problem) = kernel_params_problem(params)
    {
        return Err(invalid(KERNEL_PARAMS, node, problem));
    }
    let max = match table.count_u32(DEFAULT_MAXVCPUS) {
        None | Some(0) => host_cpus,
        Some(max) => max.min(host_cpus),
    };
    let memory_mib = table.count_u32(DEFAULT_MEMORY).unwrap_or(2048);
    let most_memory = match table.count_u32(DEFAULT_MAXMEMORY) {
        None | Some(0) => host_memory_mib(),
        Some(most) => most.min(MAX_MEMORY_MIB),
    };
    let vcpus = vcpus(table.float(DEFAULT_VCPUS).unwrap_or(1.0), host_cpus);
    Ok(HypervisorConfig {
        vmm,
        kernel,
        root: guest_root(file, chosen)?,
        rootfs_type: table.choice(ROOTFS_TYPE).unwrap_or(RootfsType::Ext4),
        kernel_params: text(table, KERNEL_PARAMS).unwrap_or_default(),
        vcpus,
        max_vcpus: max.max(vcpus),
        memory_mib,
        max_memory_mib: most_memory.max(memory_mib),
        overhead_memory_mib: overhead(table, OVERHEAD_MEMORY)?
            .map_or(DEFAULT_OVERHEAD_MIB, |mib| mib.ceil() as u32),
        overhead_vcpus: overhead(table, OVERHEAD_VCPUS)?.unwrap_or_default(),
        disk_slots: table.count_u32(DISK_SLOTS).unwrap_or(DEFAULT_DISK_SLOTS),
        disk_slot_mib: table
            .count_u32(DISK_SLOT_MIB)
            .unwrap_or(DEFAULT_DISK_SLOT_MIB),
        debug: table.bool(ENABLE_DEBUG, false),
        annotations: gate(table)?,
    })
}

/// The configuration of the VMM itself.
fn vmm(file: &Path, chosen: Chosen<'_>, runtime: &RuntimeConfig) -> Result<VmmConfig, ConfigError> {
    let binary = program(file, chosen)?;
    let name = format!("{}-probe.json", chosen.kind.id());
    let probe_cache = Some(runtime.run_root.join(name));
    let debug = chosen.section.bool(ENABLE_DEBUG, false);
    let debug_console = debug.then(|| PathBuf::from("console.log"));
    Ok(match chosen.kind {
        VmmKind::Qemu => VmmConfig::Qemu(QemuConfig {
            binary,
            debug_console,
            probe_cache,
            ..qemu(chosen.section)?
        }),
        VmmKind::Clh => VmmConfig::Clh(ClhConfig {
            binary,
            verbosity: if debug { 2 } else { 0 },
            debug_console,
            probe_cache,
            ..clh(chosen.section, runtime)?
        }),
    })
}

fn qemu(table: View<'_>) -> Result<QemuConfig, ConfigError> {
    let defaults = QemuConfig::default();
    Ok(QemuConfig {
        machine_type: machine_type(table)?,
        cpu_features: text(table, qemu_keys::CPU_FEATURES),
        pcie_root_ports: match table.count_u32(qemu_keys::PCIE_ROOT_PORT) {
            None | Some(0) => defaults.pcie_root_ports,
            Some(ports) => ports,
        },
        memory_slots: table
            .count_u32(MEMORY_SLOTS)
            .unwrap_or(defaults.memory_slots),
        accelerator: table
            .choice(qemu_keys::ACCELERATOR)
            .unwrap_or(AcceleratorChoice::Auto),
        agent_channel: table
            .choice(qemu_keys::AGENT_CHANNEL)
            .unwrap_or(ChannelKind::Serial),
        seccomp: seccomp(table)?,
        ..defaults
    })
}

fn clh(table: View<'_>, runtime: &RuntimeConfig) -> Result<ClhConfig, ConfigError> {
    let key = clh_keys::LANDLOCK_PATHS;
    let below: Vec<_> = table.list(key).map(PathBuf::from).collect();
    if let (Some(path), Some(node)) = (
        below.iter().find(|path| !path.is_absolute()),
        table.node(key),
    ) {
        let path = quote(&path.to_string_lossy());
        let reason = format!("\"{path}\" is not an absolute path");
        return Err(invalid(key, node, &reason));
    }
    // Disks that are attached later may be in these directories.
    let own = [&runtime.rootfs_cache_dir, &runtime.run_root];
    let allowed = own.into_iter().cloned().chain(below).collect();
    let landlock = table.bool(clh_keys::ENABLE_LANDLOCK, false);
    Ok(ClhConfig {
        seccomp: !table.bool(clh_keys::DISABLE_SECCOMP, false),
        landlock: landlock.then_some(allowed),
        nested: !table.bool(clh_keys::DISABLE_NESTED_VIRTUALIZATION, false),
        ..ClhConfig::default()
    })
}

fn text(table: View<'_>, key: Key<str>) -> Option<String> {
    table.text(key).map(|(text, _)| text.to_owned())
}

fn overhead(table: View<'_>, key: Key<f64>) -> Result<Option<f64>, ConfigError> {
    match (table.float(key), table.node(key)) {
        (Some(value), Some(node)) if !(0.0..=MAX_OVERHEAD).contains(&value) => {
            let reason = format!("Must be from 0 to {MAX_OVERHEAD}");
            Err(invalid(key, node, &reason))
        }
        (value, _) => Ok(value),
    }
}

/// Memory of the host in whole GiB: the exact number differs slightly between boots of the host,
/// and a template must match all of them.
fn host_memory_mib() -> u32 {
    let gib = system::memory::total().unwrap_or_default() >> 30;
    u32::try_from(gib << 10).map_or(MAX_MEMORY_MIB, |mib| mib.min(MAX_MEMORY_MIB))
}

fn program(file: &Path, chosen: Chosen<'_>) -> Result<PathBuf, ConfigError> {
    let given = chosen.section.path(PATH);
    let path = match given {
        Some((path, _)) => path.to_path_buf(),
        None => chosen.kind.default_binary(),
    };
    match (program_problem(&path), given) {
        (None, _) => Ok(path),
        (Some(problem), Some((_, node))) => Err(invalid(PATH, node, problem)),
        (Some(problem), None) => {
            let path = path.display();
            let name = chosen.name();
            let what = format!("{name} has no path, and the default {path}: {problem}");
            Err(missing(file, what))
        }
    }
}

fn guest_root(file: &Path, chosen: Chosen<'_>) -> Result<GuestRoot, ConfigError> {
    let (name, table) = (chosen.name(), chosen.section);
    match (table.file(INITRD)?, table.file(IMAGE)?) {
        (Some(initrd), None) => Ok(GuestRoot::Initrd(initrd)),
        (None, Some(image)) => Ok(GuestRoot::Image(image)),
        (None, None) => Err(missing(
            file,
            format!("{name} has neither initrd nor image"),
        )),
        (Some(_), Some(_)) => Err(match table.node(IMAGE) {
            Some(node) => invalid(IMAGE, node, "initrd is set as well; remove one of them"),
            None => missing(file, format!("{name} has both initrd and image")),
        }),
    }
}

/// Number of vCPUs for a requested number, rounded up and at most `most`: less than 0 means `most`,
/// 0 means 1.
pub fn vcpus(asked: f64, most: u32) -> u32 {
    let most = most.max(1);
    if asked < 0.0 {
        return most;
    }
    // The conversion saturates.
    (asked.ceil() as u32).clamp(1, most)
}

/// Why these parameters cannot be part of a command line.
pub fn kernel_params_problem(params: &str) -> Option<String> {
    let bad = params.chars().find(|c| c.is_control())?;
    Some(format!("Contains the character {}", bad.escape_default()))
}

fn machine_type(table: View<'_>) -> Result<String, ConfigError> {
    let key = qemu_keys::MACHINE_TYPE;
    match table.text(key) {
        None => Ok(QemuConfig::default().machine_type),
        Some((name, _)) if name == "q35" || name.starts_with("pc-q35-") => Ok(name.to_owned()),
        Some((_, node)) => {
            let reason = "Must be q35 or a version of it (pc-q35-...): devices are attached to \
                its PCI Express root ports";
            Err(invalid(key, node, reason))
        }
    }
}

/// Whether QEMU's seccomp filter is on. Kata's Go runtime passes the value to QEMU, such as
/// `on,obsolete=deny`; here only on or off is read from it.
fn seccomp(table: View<'_>) -> Result<bool, ConfigError> {
    for key in [qemu_keys::SECCOMPSANDBOX, qemu_keys::SECCOMP_SANDBOX] {
        let Some(node) = table.node(key) else {
            continue;
        };
        return match &node.value {
            Value::Text(text) if text == "on" || text.starts_with("on,") => Ok(true),
            Value::Text(text) if text == "off" || text.is_empty() => Ok(false),
            _ => Err(invalid(key, node, "Must be \"on\" or \"off\"")),
        };
    }
    Ok(true)
}

fn gate(table: View<'_>) -> Result<AnnotationGate, ConfigError> {
    let mut patterns = Vec::new();
    for pattern in table.list(ENABLE_ANNOTATIONS) {
        match RegexBuilder::new(pattern).size_limit(MAX_PATTERN).build() {
            Ok(pattern) => patterns.push(pattern),
            Err(_) => {
                let Some(node) = table.node(ENABLE_ANNOTATIONS) else {
                    continue;
                };
                let pattern = quote(pattern);
                let reason = format!("\"{pattern}\" is not a regular expression");
                return Err(invalid(ENABLE_ANNOTATIONS, node, reason));
            }
        }
    }
    Ok(AnnotationGate::new(patterns))
}

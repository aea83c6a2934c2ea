//! QEMU's command line: a pure function of the VM, the choices and what the VM starts from.

use std::path::{Path, PathBuf};

use super::{
    config::QemuConfig,
    disk_slots,
    layout::{
        self, AGENT_PORT, BRIDGE_SLOTS, IMAGE_SLOT, LOG_PORT, NIC_SLOT, Port, RNG_SLOT,
        SERIAL_SLOT, VSOCK_SLOT,
    },
    option_line::{OptionLine, escape, text},
};
use crate::{AgentChannel, GuestRoot, MemoryBacking, MemorySpec, NicSpec, Result, VmSpec};

/// What the probe decided for every VM of one QEMU.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Machine {
    /// What the operator chose.
    pub config: QemuConfig,
    /// What executes guest instructions.
    pub accelerator: Accelerator,
    /// Whether the binary has [bridges](BRIDGE). A build for few kinds of machines may lack them.
    pub has_bridges: bool,
}

/// The device that has room for many others behind it.
pub const BRIDGE: &str = "pcie-pci-bridge";

impl Machine {
    /// Slots on the root bus of the bridges that a VM has. One without root ports has none.
    pub fn bridge_slots(&self) -> &'static [u32] {
        if self.has_bridges && self.config.pcie_root_ports > 0 {
            &BRIDGE_SLOTS
        } else {
            &[]
        }
    }
}

/// What executes guest instructions.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Accelerator {
    /// The host's processor, by hardware virtualization.
    Kvm,
    /// QEMU itself, by emulation.
    Tcg,
}

impl Accelerator {
    /// The value of QEMU's option.
    pub fn option(self) -> &'static str {
        match self {
            Self::Kvm => "kvm",
            Self::Tcg => "tcg,thread=multi",
        }
    }
}

/// What a VM starts from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Start {
    /// Its kernel, which is booted.
    Kernel,
    /// A state that is loaded later; the VM stays paused.
    SavedState,
}

/// The sockets QEMU makes for a VM.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Sockets {
    /// Of the agent's virtio-serial port.
    pub agent: PathBuf,
    /// Of the agent's log.
    pub log: PathBuf,
}

impl Sockets {
    /// The sockets of a VM in `run_dir`.
    pub fn within(run_dir: &Path) -> Self {
        Self {
            agent: run_dir.join("agent.sock"),
            log: run_dir.join("log.sock"),
        }
    }
}

/// The arguments, without the program's name. QMP is expected to be on standard input, the tap of
/// the network interface on standard output: nothing is ever written there.
///
/// Nothing but the last group depends on `start`: a VM that is saved and the VM it is loaded into
/// have the same devices.
pub fn arguments(
    spec: &VmSpec,
    machine: &Machine,
    channel: &AgentChannel,
    start: Start,
) -> Result<Vec<String>> {
    let mut line = OptionLine::default();
    line.option(
        "-name",
        format!("guest={},debug-threads=on", escape(&spec.id)),
    );
    machine_options(&mut line, spec, machine)?;
    process_options(&mut line, machine.config.seccomp);
    line.option("-chardev", "socket,id=qmp,fd=0");
    line.option("-mon", "chardev=qmp,mode=control");
    identity_options(&mut line);
    channel_options(&mut line, &spec.run_dir, channel)?;
    if let GuestRoot::Image(path) = &spec.kernel.root {
        image_options(&mut line, text(path)?);
    }
    disk_slots::options(&mut line, &spec.slots)?;
    if let Some(nic) = &spec.nic {
        nic_options(&mut line, nic, machine);
    }
    root_ports(&mut line, machine.config.pcie_root_ports);
    bridges(&mut line, machine.bridge_slots());
    if let Some(console) = &machine.config.debug_console {
        console_options(&mut line, &spec.run_dir.join(console))?;
    }
    match start {
        Start::Kernel => kernel_options(&mut line, spec)?,
        Start::SavedState => {
            line.flag("-S");
            line.option("-incoming", "defer");
        }
    }
    Ok(line.into_arguments())
}

/// What makes clones differ: a generation id and random numbers.
fn identity_options(line: &mut OptionLine) {
    line.option("-device", "vmgenid,guid=auto");
    line.option("-object", "rng-builtin,id=rng");
    line.option(
        "-device",
        format!("virtio-rng-pci,rng=rng,bus=pcie.0,addr={RNG_SLOT:#x}"),
    );
}

fn console_options(line: &mut OptionLine, path: &Path) -> Result<()> {
    let path = escape(text(path)?);
    line.option("-chardev", format!("file,id=console,path={path}"));
    line.option("-device", "isa-serial,chardev=console");
    Ok(())
}

fn root_ports(line: &mut OptionLine, count: u32) {
    for port in (0..count).map(Port::nth) {
        let (bus, slot) = (port.bus(), port.slot());
        line.option(
            "-device",
            format!("pcie-root-port,id={bus},bus=pcie.0,addr={slot:#x},chassis={slot},slot={slot}"),
        );
    }
}

/// Room for many devices at the price of one: a root port costs a guest as much as a bridge. With
/// the bridge's own hot-plug controller firmware leaves room for addresses behind it; devices come
/// and go by ACPI.
fn bridges(line: &mut OptionLine, slots: &[u32]) {
    for slot in slots {
        let bus = layout::bus(*slot);
        line.option(
            "-device",
            format!("{BRIDGE},id={bus},bus=pcie.0,addr={slot:#x}"),
        );
    }
}

/// The CPU model the guest sees.
pub fn cpu_model(config: &QemuConfig, accelerator: Accelerator) -> String {
    let model = match accelerator {
        Accelerator::Kvm => "host",
        Accelerator::Tcg => "max",
    };
    match config.cpu_features.as_deref() {
        None | Some("") => String::from(model),
        Some(features) => format!("{model},{features}"),
    }
}

/// The machine type, without the parts a guest has no use for: they cost boot time and widen what a
/// guest can attack.
pub fn bare_machine(config: &QemuConfig) -> String {
    let kind = escape(&config.machine_type);
    format!("{kind},usb=off,graphics=off,vmport=off,hpet=off,smm=off,sata=off,smbus=off")
}

fn machine_options(line: &mut OptionLine, spec: &VmSpec, machine: &Machine) -> Result<()> {
    let bare = bare_machine(&machine.config);
    let memory = "memory-backend=ram,dump-guest-core=off,mem-merge=off";
    line.option("-machine", format!("{bare},{memory},suppress-vmdesc=on"));
    line.option("-accel", machine.accelerator.option());
    line.option("-cpu", cpu_model(&machine.config, machine.accelerator));
    let (now, most) = (spec.vcpus, most_vcpus(spec.max_vcpus, machine.accelerator));
    line.option(
        "-smp",
        format!("cpus={now},sockets={most},cores=1,threads=1,maxcpus={most}"),
    );
    line.option("-m", memory_size(&spec.memory, machine.config.memory_slots));
    line.option("-object", memory_object(&spec.memory)?);
    line.option("-rtc", "base=utc,clock=host");
    if machine.accelerator == Accelerator::Kvm {
        line.option("-global", "kvm-pit.lost_tick_policy=discard");
    }
    Ok(())
}

/// Before version 8.1 QEMU drops the guest's memory barriers where there can be one vCPU only, and
/// the guest misses interrupts of its virtio devices: about one in forty VMs stopped answering. See
/// commit c914d46d0a64 of QEMU.
fn most_vcpus(wanted: u32, accelerator: Accelerator) -> u32 {
    match accelerator {
        Accelerator::Tcg => wanted.max(2),
        Accelerator::Kvm => wanted,
    }
}

/// Slots are only there for a VM that may grow: they change the machine, and a saved VM is loaded
/// into the same machine only.
fn memory_size(memory: &MemorySpec, slots: u32) -> String {
    let (now, most) = (memory.mib, memory.max_mib);
    if most > now && slots > 0 {
        format!("size={now}M,slots={slots},maxmem={most}M")
    } else {
        format!("size={now}M")
    }
}

fn memory_object(memory: &MemorySpec) -> Result<String> {
    let mib = memory.mib;
    Ok(match &memory.backing {
        MemoryBacking::Anonymous => format!("memory-backend-ram,id=ram,size={mib}M"),
        MemoryBacking::File { path, shared } => {
            let share = if *shared { "on" } else { "off" };
            let path = escape(text(path)?);
            format!("memory-backend-file,id=ram,size={mib}M,mem-path={path},share={share}")
        }
    })
}

fn process_options(line: &mut OptionLine, seccomp: bool) {
    for flag in ["-nodefaults", "-no-user-config", "-nographic", "-no-reboot"] {
        line.flag(flag);
    }
    if seccomp {
        let denied = "obsolete=deny,elevateprivileges=deny,spawn=deny,resourcecontrol=deny";
        line.option("-sandbox", format!("on,{denied}"));
    }
}

fn channel_options(line: &mut OptionLine, run_dir: &Path, channel: &AgentChannel) -> Result<()> {
    let sockets = Sockets::within(run_dir);
    line.option(
        "-device",
        format!("virtio-serial-pci,id=serial,bus=pcie.0,addr={SERIAL_SLOT:#x},max_ports=4"),
    );
    match channel {
        AgentChannel::Vsock { cid } => line.option(
            "-device",
            format!("vhost-vsock-pci,guest-cid={cid},bus=pcie.0,addr={VSOCK_SLOT:#x}"),
        ),
        _ => serial_port(line, 1, "agent", AGENT_PORT, &sockets.agent)?,
    }
    serial_port(line, 2, "log", LOG_PORT, &sockets.log)
}

fn serial_port(line: &mut OptionLine, nr: u32, id: &str, name: &str, socket: &Path) -> Result<()> {
    let path = escape(text(socket)?);
    line.option(
        "-chardev",
        format!("socket,id={id},path={path},server=on,wait=off"),
    );
    line.option(
        "-device",
        format!("virtserialport,bus=serial.0,nr={nr},chardev={id},name={name}"),
    );
    Ok(())
}

fn image_options(line: &mut OptionLine, path: &str) {
    let file = serde_json::json!({ "driver": "file", "filename": path, "read-only": true });
    let node = serde_json::json!({
        "driver": "raw", "node-name": "image", "read-only": true, "file": file,
    });
    line.option("-blockdev", node.to_string());
    line.option(
        "-device",
        format!("virtio-blk-pci,id=image,drive=image,bus=pcie.0,addr={IMAGE_SLOT:#x}"),
    );
}

/// Where the host's kernel can move the packets, QEMU lets it, and moves them itself if it refuses.
fn nic_options(line: &mut OptionLine, nic: &NicSpec, machine: &Machine) {
    let vhost = if machine.accelerator == Accelerator::Kvm {
        "on"
    } else {
        "off"
    };
    line.option("-netdev", format!("tap,id=nic,fd=1,vhost={vhost}"));
    let mac = escape(&nic.mac);
    line.option(
        "-device",
        format!(
            "virtio-net-pci,id=nic,netdev=nic,mac={mac},romfile=,bus=pcie.0,addr={NIC_SLOT:#x}"
        ),
    );
}

fn kernel_options(line: &mut OptionLine, spec: &VmSpec) -> Result<()> {
    line.option("-kernel", text(&spec.kernel.kernel)?);
    if let GuestRoot::Initrd(path) = &spec.kernel.root {
        line.option("-initrd", text(path)?);
    }
    line.option("-append", spec.kernel.command_line.as_str());
    Ok(())
}

#[cfg(test)]
mod tests;

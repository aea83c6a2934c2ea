//! The machine that a VMM gives its VMs, as far as a saved VM depends on it.

use std::fmt;

use serde::{Deserialize, Serialize};

/// What is the same in every VM of one VMM as it is configured on one host. A VM is restored only
/// where all of it is as it was when the VM was saved.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Machine {
    /// What executes guest instructions: `kvm` or `tcg`.
    pub accelerator: String,
    /// How the agent is reached: `virtio-serial`, `vhost-vsock` or `hybrid-vsock`.
    pub agent_channel: String,
    /// Whether what the guest writes to its serial port goes to a file.
    pub debug_console: bool,
    /// Number of the layout of devices: it changes when VMs of the previous one cannot be restored.
    pub layout: u32,
    /// QEMU's machine type, as `q35`.
    pub machine_type: Option<String>,
    /// QEMU's root ports for devices that are attached.
    pub root_ports: Option<u32>,
    /// QEMU's bridges for more such devices.
    pub bridges: Option<u32>,
    /// QEMU's slots for hot-plugged memory.
    pub memory_slots: Option<u32>,
    /// Whether guests of Cloud Hypervisor may run VMs of their own.
    pub nested: Option<bool>,
    /// Directories that Landlock leaves to a Cloud Hypervisor, `off` without Landlock.
    pub landlock: Option<String>,
}

impl Machine {
    /// All fields with the names by which differences are reported, in a fixed order. One that a
    /// VMM does not have is empty.
    pub fn fields(&self) -> [(&'static str, String); 10] {
        let Self {
            accelerator,
            agent_channel,
            debug_console,
            layout,
            machine_type,
            root_ports,
            bridges,
            memory_slots,
            nested,
            landlock,
        } = self;
        [
            ("machine type", text(machine_type.as_ref())),
            ("accelerator", accelerator.clone()),
            ("agent channel", agent_channel.clone()),
            ("PCI Express root ports", text(root_ports.as_ref())),
            ("PCI bridges", text(bridges.as_ref())),
            ("memory slots", text(memory_slots.as_ref())),
            ("nested virtualization", text(nested.as_ref())),
            ("Landlock paths", text(landlock.as_ref())),
            ("debug console", debug_console.to_string()),
            ("device layout", layout.to_string()),
        ]
    }
}

fn text(value: Option<&impl fmt::Display>) -> String {
    value.map_or_else(String::new, ToString::to_string)
}

/// The fields that the VMM has, as one line.
impl fmt::Display for Machine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let fields = self.fields();
        let present = fields.iter().filter(|(_, value)| !value.is_empty());
        let shown: Vec<_> = present
            .map(|(name, value)| format!("{name} {value}"))
            .collect();
        f.write_str(&shown.join(", "))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_machine_is_shown_by_the_fields_that_it_has() {
        let machine = Machine {
            accelerator: "kvm".into(),
            agent_channel: "hybrid-vsock".into(),
            nested: Some(true),
            layout: 4,
            ..Machine::default()
        };
        assert_eq!(
            machine.to_string(),
            "accelerator kvm, agent channel hybrid-vsock, nested virtualization true, \
             debug console false, device layout 4"
        );
    }
}

//! Block devices of a container: what of them stands in the guest's specification, and when.

use agent_client::oci as wire;

use super::{GuestSpec, HostBind, HostDevice};

impl GuestSpec {
    /// The block devices that were given to the container one by one. They are not in the guest's
    /// specification until they are given back.
    pub fn take_block_devices(&mut self) -> Vec<HostDevice> {
        std::mem::take(&mut self.devices)
    }

    /// Says that the disk behind `device` is in the guest. The agent puts its number there in, also in
    /// the rule.
    pub fn give_back(&mut self, device: &HostDevice) {
        let access = if device.read_only { "rm" } else { "rwm" };
        let rule = wire::LinuxDeviceCgroup {
            Allow: true,
            Type: "b".to_owned(),
            Major: device.node.Major,
            Minor: device.node.Minor,
            Access: access.to_owned(),
            ..Default::default()
        };
        let linux = self.linux();
        linux.Devices.push(device.node.clone());
        linux.Resources.mut_or_insert_default().Devices.push(rule);
    }

    /// Turns a bind mount of a block device into a device node of the container with these
    /// permission bits. The agent puts the number in.
    pub fn provide_as_device(&mut self, bind: &HostBind, mode: u32) {
        let Some(position) = self.binds.iter().position(|b| b.index == bind.index) else {
            return;
        };
        let bind = self.binds.remove(position);
        self.no_mounts.push(bind.index);
        self.linux().Devices.push(wire::LinuxDevice {
            Path: bind.destination.to_string_lossy().into_owned(),
            Type: "b".to_owned(),
            FileMode: mode,
            ..Default::default()
        });
    }

    fn linux(&mut self) -> &mut wire::Linux {
        self.spec.Linux.mut_or_insert_default()
    }
}
